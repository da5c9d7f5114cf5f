//! Guests as core modules in text. `wit-component` makes components of them, as a language's toolchain would.

use keelstone_plugins::{Package, Put, Request, Write, pack};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A guest of the world `admission-check`, of which a test changes a part.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Interfaces, each with one of their functions and its core type.
    pub imports: String,
    pub memory: String,
    /// Further fields of the module.
    pub fields: String,
    /// Bodies of the two exports. Each returns the address of its result.
    pub start: String,
    pub check: String,
    /// Of the contract.
    pub version: String,
    pub manifest: String,
}

pub const MANIFEST: &str = "[plugin]\nname = 'guest'\nversion = '1.0.0'\nworld = 'admission-check'\nabi = '0.1'\n";

/// Zeroes at 256 are `ok`, and so many `allow`.
pub const ALLOW_ALL: &str = "(i32.store (i32.const 16) (i32.const 1024)) \
                         (i32.store (i32.const 20) (local.get 1)) (i32.const 16)";

impl Guest {
    /// Allows everything.
    pub fn good() -> Self {
        Self {
            imports: String::new(),
            memory: "(memory (export \"memory\") 2)".to_owned(),
            fields: String::new(),
            start: "(i32.const 256)".to_owned(),
            check: ALLOW_ALL.to_owned(),
            version: "0.1.0".to_owned(),
            manifest: MANIFEST.to_owned(),
        }
    }

    fn module(&self) -> String {
        let Self { imports, memory, fields, start, check, version, .. } = self;
        format!(
            r#"(module
                {imports}
                {memory}
                (global $next (mut i32) (i32.const 65536))
                {fields}
                ;; Hands out what lies behind the last, and never takes back before the call is over.
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                  (local $at i32)
                  (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                  (global.set $next (i32.add (local.get $at) (local.get 3)))
                  (block $fits
                    (br_if $fits (i32.le_u (global.get $next) (i32.shl (memory.size) (i32.const 16))))
                    (br_if $fits (i32.ne (i32.const -1) (memory.grow (i32.add (i32.const 1)
                      (i32.shr_u (i32.sub (global.get $next) (i32.shl (memory.size) (i32.const 16))) (i32.const 16))))))
                    unreachable)
                  (local.get $at))
                (func (export "keelstone:plugin/lifecycle@{version}#start") (param i32 i32) (result i32) {start})
                (func (export "keelstone:plugin/admission@{version}#check") (param i32 i32) (result i32) {check})
                (func (export "cabi_post_keelstone:plugin/admission@{version}#check") (param i32)
                  (global.set $next (i32.const 65536))))"#
        )
    }

    pub fn bytes(&self) -> Vec<u8> {
        pack(&component(&self.module(), "admission-check", &self.version), &self.manifest).unwrap()
    }

    pub fn package(&self) -> Package {
        Package::read(self.bytes()).unwrap()
    }
}

/// A component of a core module, for a world of the contract in this version.
pub fn component(module: &str, world: &str, version: &str) -> Vec<u8> {
    component_of(module, &format!("world guest {{ include keelstone:plugin/{world}@{version}; }}"), version)
}

/// One for a world that is written in WIT, beside the contract and those interfaces of WASI that the tests use.
pub fn component_of(module: &str, world: &str, version: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/0.1");
    let mut contract = String::new();
    for file in std::fs::read_dir(folder).unwrap() {
        contract +=
            &std::fs::read_to_string(file.unwrap().path()).unwrap().replace("package keelstone:plugin@0.1.0;", "");
    }
    let text = format!("package test:guest;\n package keelstone:plugin@{version} {{ {contract} }}\n {WASI}\n {world}");
    let mut resolve = Resolve::default();
    let package = resolve.push_str("guest.wit", &text).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

/// What a guest needs to sleep, and one thing that no plugin gets.
const WASI: &str = "
    package wasi:io@0.2.0 {
      interface poll { resource pollable { block: func(); } }
    }
    package wasi:clocks@0.2.0 {
      interface monotonic-clock {
        use wasi:io/poll@0.2.0.{pollable};
        subscribe-duration: func(nanos: u64) -> pollable;
      }
    }
    package wasi:random@0.2.0 {
      interface random { get-random-bytes: func(len: u64) -> list<u8>; }
    }
    package wasi:sockets@0.2.0 {
      interface instance-network { resource network; instance-network: func() -> network; }
    }";

/// A put of a value of zeroes.
pub fn request(key: &str, value_bytes: usize) -> Request {
    let put = Put { key: key.as_bytes().to_vec(), value: Some(vec![0; value_bytes]), lease: Some(0) };
    Request { user: Some("alice".to_owned()), roles: vec!["writers".to_owned()], writes: vec![Write::Put(put)] }
}
