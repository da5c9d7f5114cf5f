//! The part of protobuf's encoding that log records use. By hand, since an entry is encoded straight into the
//! write buffer and, at open, looked at without being copied.

/// The bytes are no protobuf message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    pub(crate) fn number(&self) -> Result<u64, Malformed> {
        match self {
            Value::Number(number) => Ok(*number),
            Value::Bytes(_) => Err(Malformed),
        }
    }

    pub(crate) fn bytes(&self) -> Result<&'a [u8], Malformed> {
        match self {
            Value::Number(_) => Err(Malformed),
            Value::Bytes(bytes) => Ok(bytes),
        }
    }
}

/// The fields of a message in the order they stand. Ends after the first error.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for (at, &byte) in self.rest.iter().enumerate().take(10) {
            // The tenth byte has room for the last bit only.
            if at == 9 && byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Bytes(self.take(8)?),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Bytes(self.take(4)?),
            _ => return Err(Malformed),
        };
        match key >> 3 {
            0 => Err(Malformed),
            number => Ok((number, value)),
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Something that takes encoded bytes.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    fn put_varint(&mut self, mut value: u64) {
        let mut bytes = [0; 10];
        let mut len = 0;
        while value >= 0x80 {
            bytes[len] = value.to_le_bytes()[0] | 0x80;
            value >>= 7;
            len += 1;
        }
        bytes[len] = value.to_le_bytes()[0];
        self.put(&bytes[..=len]);
    }

    /// A number field, written even when zero.
    fn put_number(&mut self, field: u64, value: u64) {
        self.put_varint(field << 3);
        self.put_varint(value);
    }

    /// The key and length of a field of `len` bytes, which follow.
    fn put_length(&mut self, field: u64, len: usize) {
        self.put_varint(field << 3 | 2);
        self.put_varint(len as u64);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A small message on the stack: at most five numbers with their keys.
#[derive(Debug)]
pub(crate) struct Small {
    bytes: [u8; 64],
    len: usize,
}

impl Small {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; 64], len: 0 }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Sink for Small {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

pub(crate) fn varint_len(value: u64) -> usize {
    // Seven bits a byte, one byte at least.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_round_trips_and_has_the_length_foretold() {
        for value in (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, u64::MAX >> bit]) {
            let mut bytes = Vec::new();
            bytes.put_varint(value);
            assert_eq!(bytes.len(), varint_len(value), "{value}");
            assert_eq!(Fields { rest: &bytes }.varint(), Ok(value));
        }
    }

    #[test]
    fn lengths_beyond_the_message_and_endless_varints_are_refused() {
        assert_eq!(Fields::of(&[0x0a, 5, 1]).next(), Some(Err(Malformed)));
        assert_eq!(
            Fields::of(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).next(),
            Some(Err(Malformed))
        );
        assert_eq!(Fields::of(&[0xff; 12]).next(), Some(Err(Malformed)));
        assert_eq!(Fields::of(&[0x03]).next(), Some(Err(Malformed)));
    }
}
