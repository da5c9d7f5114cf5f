//! One node of a tree as it was read: checked as a whole before anything of it is used.

use super::Damage;
use super::layout::{BRANCH, ELEMENT_BYTES, IS_BUCKET, LEAF, PAGE_HEADER_BYTES, u16_at, u32_at, u64_at};
use bytes::Bytes;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Branch,
    Leaf,
}

/// The header of a page that is a node.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub id: u64,
    pub kind: Kind,
    count: u16,
    /// Pages after the first.
    pub overflow: u32,
}

impl Header {
    /// # Errors
    /// The page is of another kind.
    pub fn parse(bytes: &[u8; PAGE_HEADER_BYTES]) -> Result<Self, Damage> {
        let kind = match u16_at(bytes, 8) {
            BRANCH => Kind::Branch,
            LEAF => Kind::Leaf,
            flags => return Err(Damage::NoNode { flags }),
        };
        Ok(Self { id: u64_at(bytes, 0), kind, count: u16_at(bytes, 10), overflow: u32_at(bytes, 12) })
    }
}

/// A node whose elements lie inside of it and ascend.
#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    count: usize,
    /// Its pages, from the header on.
    bytes: Bytes,
}

impl Node {
    /// # Errors
    /// An element reaches outside, has no key or is out of order.
    pub fn parse(header: Header, bytes: Bytes) -> Result<Self, Damage> {
        let count = usize::from(header.count);
        if PAGE_HEADER_BYTES + count * ELEMENT_BYTES > bytes.len() {
            return Err(Damage::Elements { count: header.count });
        }
        if header.kind == Kind::Branch && count == 0 {
            return Err(Damage::Childless);
        }
        let node = Self { kind: header.kind, count, bytes };
        for element in 0..count {
            let (at, key_len, value_len) = node.place(element);
            let end = at.checked_add(key_len).and_then(|end| end.checked_add(value_len));
            if end.is_none_or(|end| end > node.bytes.len()) {
                return Err(Damage::ElementOutside { element });
            }
            if key_len == 0 {
                return Err(Damage::EmptyKey { element });
            }
            if element > 0 && node.key_bytes(element - 1) >= node.key_bytes(element) {
                return Err(Damage::KeyOrder { element });
            }
        }
        Ok(node)
    }

    pub fn len(&self) -> usize {
        self.count
    }

    fn field(&self, element: usize, at: usize) -> u32 {
        u32_at(&self.bytes, PAGE_HEADER_BYTES + element * ELEMENT_BYTES + at)
    }

    /// Where the key begins, its length and the value's.
    fn place(&self, element: usize) -> (usize, usize, usize) {
        let (pos, key_len, value_len) = match self.kind {
            Kind::Branch => (self.field(element, 0), self.field(element, 4), 0),
            Kind::Leaf => (self.field(element, 4), self.field(element, 8), self.field(element, 12)),
        };
        let at = PAGE_HEADER_BYTES + element * ELEMENT_BYTES + pos as usize;
        (at, key_len as usize, value_len as usize)
    }

    fn key_bytes(&self, element: usize) -> &[u8] {
        let (at, len, _) = self.place(element);
        &self.bytes[at..at + len]
    }

    /// A slice of the node's memory, as [`Self::value`].
    pub fn key(&self, element: usize) -> Bytes {
        let (at, len, _) = self.place(element);
        self.bytes.slice(at..at + len)
    }

    /// Of a leaf.
    pub fn value(&self, element: usize) -> Bytes {
        let (at, key_len, len) = self.place(element);
        self.bytes.slice(at + key_len..at + key_len + len)
    }

    /// Of a leaf.
    pub fn is_bucket(&self, element: usize) -> bool {
        self.field(element, 0) & IS_BUCKET != 0
    }

    /// The page that an element of a branch names.
    pub fn child(&self, element: usize) -> u64 {
        u64_at(&self.bytes, PAGE_HEADER_BYTES + element * ELEMENT_BYTES + 8)
    }

    /// All keys must lie from `first` on and before `end`, where there is one.
    ///
    /// # Errors
    /// The first that does not. A node with bounds is below a branch, where none is empty.
    pub fn check_range(&self, first: &[u8], end: Option<&Bytes>) -> Result<(), Damage> {
        let last = self.count.checked_sub(1).ok_or(Damage::Empty)?;
        if self.key_bytes(0) < first {
            return Err(Damage::OutsideOfBranch { element: 0 });
        }
        if end.is_some_and(|end| self.key_bytes(last) >= end) {
            return Err(Damage::OutsideOfBranch { element: last });
        }
        Ok(())
    }
}
