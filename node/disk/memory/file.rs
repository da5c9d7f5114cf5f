//! An open file in memory.

use super::MemoryDisk;
use super::image::{Change, SECTOR_BYTES};
use crate::disk::File;
use std::io;

#[derive(Debug)]
pub(super) struct MemoryFile {
    pub(super) disk: MemoryDisk,
    pub(super) node: u64,
}

impl File for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.access(|inner| Ok(inner.file(self.node)?.current.len() as u64))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.access(|inner| {
            let bytes = &inner.file(self.node)?.current;
            let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
            let end = start.checked_add(out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.operation_with(|inner, injected| {
            if let Err(error) = injected {
                // Kernels stop between pages, thus between sectors.
                let half = offset + data.len() as u64 / 2;
                let kept = usize::try_from((half - half % SECTOR_BYTES).saturating_sub(offset)).unwrap_or(0);
                inner.change(self.node, Change::Write { offset, data: data[..kept].to_vec() })?;
                return Err(error);
            }
            inner.grow(self.node, offset + data.len() as u64)?;
            inner.change(self.node, Change::Write { offset, data: data.to_vec() })
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.operation(|inner| inner.change(self.node, Change::Len(len)))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.operation(|inner| {
            inner.grow(self.node, len)?;
            let len = len.max(inner.file(self.node)?.current.len() as u64);
            inner.change(self.node, Change::Len(len))
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.operation_with(|inner, injected| {
            let file = inner.file(self.node)?;
            match injected {
                Ok(()) => file.sync(),
                Err(_) => file.fail_to_sync(),
            }
            injected
        })
    }
}
