//! Backups at a destination that this process reaches by itself, without a member: for when the cluster is down, or elsewhere.

use crate::backup::archive::{
    self, Catalogue, Chain, CheckError, Forget, ForgetError, Manifest, ReplayError, Stop, check, replay,
};
use crate::backup::destination::{Destination, Existing, Failure as Missed, Folder, Uploading};
use crate::backup::{BLOB_BYTES, Save};
use crate::config::backup::{BackupUrl, Retention};
use crate::disk::{Disk, File, RealDisk, parent_of};
use anyhow::{Context, anyhow};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// A destination, opened, and what is there.
#[derive(Debug)]
pub struct Place {
    pub destination: Arc<dyn Destination>,
    pub catalogue: Catalogue,
}

fn open(url: &str) -> anyhow::Result<Arc<dyn Destination>> {
    Ok(Arc::new(Folder::new(Arc::new(RealDisk), BackupUrl::parse(url)?.path().to_owned())))
}

impl Place {
    /// Reads all manifests, of whatever cluster.
    pub fn read(url: &str) -> anyhow::Result<Self> {
        let destination = open(url)?;
        let catalogue = Catalogue::read(destination.as_ref(), "").context("list backups")?;
        Ok(Self { destination, catalogue })
    }

    /// What is sound, and what is not and why.
    pub fn verify(&self, backups: &[Manifest]) -> (Vec<String>, Vec<(String, CheckError)>) {
        archive::check_all(&self.destination, backups, &Stop::default())
    }

    /// Those that the rules do not keep.
    pub fn expired(&self, rules: &Retention) -> Vec<Manifest> {
        archive::expired(&self.catalogue, rules, SystemTime::now())
    }

    pub fn forget(&self, unwanted: &[Manifest], what: Forget) -> Result<(), ForgetError> {
        archive::forget_safely(&self.destination, &self.catalogue, unwanted, what, &Stop::default())
    }

    /// Copies one to another destination and verifies it there. False if it is there already.
    pub fn copy(&self, backup: &Manifest, to: &Arc<dyn Destination>) -> anyhow::Result<bool> {
        match Manifest::read(to.as_ref(), &backup.key()) {
            Ok(there) if there == *backup => return Ok(false),
            Ok(_) => return Err(anyhow!("{}: another backup has this name there", backup.key())),
            Err(archive::Unreadable::Read(Missed::NotFound { .. })) => {}
            Err(error) => return Err(error.into()),
        }
        // A copy that was interrupted.
        to.abort_upload(&backup.object)?;
        to.delete_all(std::slice::from_ref(&backup.object))?;
        let mut upload = Uploading::begin(to, &backup.object)?;
        if let Err(error) = self.send(backup, &mut upload) {
            upload.abort()?;
            return Err(error);
        }
        upload.complete()?;
        if let Err(error) = check(to, backup, &Stop::default()) {
            to.delete_all(std::slice::from_ref(&backup.object))?;
            return Err(error.into());
        }
        to.put(&backup.key(), &backup.encode(), Existing::Refuse)?;
        Ok(true)
    }

    fn send(&self, backup: &Manifest, upload: &mut Uploading) -> anyhow::Result<()> {
        const READ_BYTES: usize = 1 << 20;
        let mut at = 0;
        loop {
            let read = self.destination.read(&backup.object, at, READ_BYTES)?;
            if read.is_empty() {
                return Ok(());
            }
            upload.write(&read)?;
            at += read.len() as u64;
        }
    }

    /// Restores the newest state, or that of a revision, into a scratch file beside `beside` and hands it to `use_it`.
    pub fn restored<T>(
        &self,
        chain: &Chain,
        revision: Option<i64>,
        beside: &Path,
        use_it: impl FnOnce(&archive::Replayed) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut scratch = beside.to_owned().into_os_string();
        scratch.push(format!(".scratch-{}", std::process::id()));
        let scratch = PathBuf::from(scratch);
        let file = RealDisk.create(&scratch).with_context(|| format!("create {}", scratch.display()))?;
        let used = replay(&self.destination, chain, revision, file, &Stop::default())
            .map_err(anyhow::Error::from)
            .and_then(|replayed| use_it(&replayed));
        RealDisk.remove_file(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
        used
    }

    /// Writes the newest state, or that of a revision, as a snapshot file, which must not be there yet. Returns its revision.
    pub fn export(&self, revision: Option<i64>, path: &Path) -> anyhow::Result<i64> {
        if path.try_exists().with_context(|| format!("stat {}", path.display()))? {
            return Err(anyhow!("{} is there already", path.display()));
        }
        let chain = self.catalogue.chain_to(revision)?;
        self.restored(&chain, revision, path, |state| {
            save(state, path)?;
            Ok(state.state.at.revision)
        })
    }
}

/// The destination to copy to.
pub fn target(url: &str) -> anyhow::Result<Arc<dyn Destination>> {
    open(url)
}

/// True for what a drill or a verification is there to find.
pub fn is_damage(error: &anyhow::Error) -> bool {
    error.is::<ReplayError>() || error.is::<CheckError>()
}

/// The file gets its name once it is whole and on disk.
fn save(state: &archive::Replayed, path: &Path) -> anyhow::Result<()> {
    let part = path.with_added_extension("part");
    let file = RealDisk.create(&part).with_context(|| format!("create {}", part.display()))?;
    let written = write(state, file.as_ref()).and_then(|()| {
        RealDisk.rename(&part, path)?;
        Ok(RealDisk.sync_dir(parent_of(path))?)
    });
    if written.is_err() {
        // What failed is told; that a part may be left too is not worth more words.
        RealDisk.remove_file(&part).ok();
    }
    written.with_context(|| format!("write {}", path.display()))
}

fn write(state: &archive::Replayed, file: &dyn File) -> anyhow::Result<()> {
    let mut save = Save::plan(&state.state.version)?;
    let (mut at, mut buffer) = (0, Vec::with_capacity(BLOB_BYTES * 8));
    while !save.is_finished() {
        for blob in save.next_blobs()? {
            buffer.extend_from_slice(&blob.bytes);
        }
        file.write_at(at, &buffer)?;
        at += buffer.len() as u64;
        buffer.clear();
    }
    Ok(file.sync_data()?)
}
