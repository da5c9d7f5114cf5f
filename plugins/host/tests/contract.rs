//! The contract of `plugins/wit`: a released folder is never edited. Who needs another shape makes another folder.

use aws_lc_rs::digest::{Context, SHA256};
use std::fmt::Write as _;
use std::path::Path;

const RELEASED: &[(&str, &str)] = &[("0.1", "0f3b2d05b709e267722164ffc65765f97ce30d62d8284f98b107a1868bd88b13")];

fn hash(folder: &Path) -> String {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut context = Context::new(&SHA256);
    for file in files {
        let text = std::fs::read(&file).unwrap();
        context.update(file.file_name().unwrap().as_encoded_bytes());
        context.update(&text.len().to_le_bytes());
        context.update(&text);
    }
    context.finish().as_ref().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn a_released_folder_is_as_it_was() {
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let mut folders: Vec<_> = std::fs::read_dir(&contract).unwrap().map(|folder| folder.unwrap().file_name()).collect();
    folders.sort();
    let found: Vec<_> = folders.iter().map(|name| (name.to_str().unwrap(), hash(&contract.join(name)))).collect();
    let found: Vec<_> = found.iter().map(|(name, hash)| (*name, hash.as_str())).collect();
    assert_eq!(found, RELEASED);
}
