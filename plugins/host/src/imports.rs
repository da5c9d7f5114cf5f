//! What a component really imports, against what it was granted. Said before anything of it runs, by the component itself and
//! not by its manifest.

use crate::grant::Grants;
use crate::manifest::{ABI, Abi, World};
use wasmtime::Engine;
use wasmtime::component::Component;

/// An interface that a component imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// With its version: `keelstone:plugin/log@0.1.0`.
    pub name: String,
    pub grant: Needs,
}

/// What has to be granted for an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// It gives nothing of the outside.
    Nothing,
    KvRead,
    Secrets,
    Http,
    /// No plugin of this world is given it.
    Forbidden,
}

/// Interfaces of `keelstone:plugin`, each with what it needs and the worlds that have it.
const OURS: &[(&str, Needs, &[World])] = {
    use World::{AdmissionCheck as Check, BackupDestination as Destination, RestoreHook as Hook};
    &[
        ("types", Needs::Nothing, &[Check, Destination, Hook]),
        ("log", Needs::Nothing, &[Check, Destination, Hook]),
        ("metrics", Needs::Nothing, &[Check, Destination, Hook]),
        ("clock", Needs::Nothing, &[Check, Destination, Hook]),
        ("kv-read", Needs::KvRead, &[Check, Hook]),
        ("secrets", Needs::Secrets, &[Destination, Hook]),
        // Types of what it exports itself may stand among the imports.
        ("lifecycle", Needs::Nothing, &[Check, Destination, Hook]),
    ]
};

/// What a language's own library imports, whether a plugin uses it or not. Arguments, variables and files there are none.
const OF_LANGUAGES: &[&str] = &["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/"];

fn needs(name: &str, world: World) -> Needs {
    let interface = name.split_once('@').map_or(name, |(interface, _)| interface);
    if let Some(ours) = interface.strip_prefix("keelstone:plugin/") {
        let found = OURS.iter().find(|(name, _, worlds)| *name == ours && worlds.contains(&world));
        return found.map_or(Needs::Forbidden, |(_, needs, _)| *needs);
    }
    // The others are pure: nothing of WASI is there for them.
    if world != World::BackupDestination {
        return Needs::Forbidden;
    }
    match interface {
        "wasi:http/types" | "wasi:http/outgoing-handler" => Needs::Http,
        _ if OF_LANGUAGES.iter().any(|package| interface.starts_with(package)) => Needs::Nothing,
        _ => Needs::Forbidden,
    }
}

/// In the order in which the component names them.
pub(crate) fn of(component: &Component, engine: &Engine, world: World) -> Vec<Import> {
    let of_type = component.component_type();
    let names = of_type.imports(engine).map(|(name, _)| name.to_owned());
    names.map(|name| Import { grant: needs(&name, world), name }).collect()
}

/// Another version of the contract than this host's, among what is imported or exported.
pub(crate) fn other_abi(component: &Component, engine: &Engine) -> Option<Abi> {
    let of_type = component.component_type();
    let imports = of_type.imports(engine).map(|(name, _)| name.to_owned());
    let names = imports.chain(of_type.exports(engine).map(|(name, _)| name.to_owned())).collect::<Vec<_>>();
    let versions = names.iter().filter_map(|name| name.strip_prefix("keelstone:plugin/")?.split_once('@'));
    let mut abis = versions.filter_map(|(_, version)| {
        let version = semver::Version::parse(version).ok()?;
        Some(Abi { major: version.major, minor: version.minor })
    });
    abis.find(|abi| *abi != ABI)
}

/// Names of imports that the grants do not cover.
pub(crate) fn not_granted(imports: &[Import], grants: &Grants) -> Vec<String> {
    let is_granted = |import: &&Import| match import.grant {
        Needs::Nothing => true,
        Needs::KvRead => !grants.kv_read.is_empty(),
        Needs::Secrets => !grants.secrets.is_empty(),
        Needs::Http => !grants.http.is_empty(),
        Needs::Forbidden => false,
    };
    imports.iter().filter(|import| !is_granted(import)).map(|import| import.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_and_hooks_are_pure() {
        for world in [World::AdmissionCheck, World::RestoreHook] {
            for name in ["wasi:http/outgoing-handler@0.2.0", "wasi:cli/stdout@0.2.6", "wasi:sockets/tcp@0.2.0", "log"] {
                assert_eq!(needs(name, world), Needs::Forbidden, "{name}");
            }
            assert_eq!(needs("keelstone:plugin/kv-read@0.1.0", world), Needs::KvRead);
        }
        assert_eq!(needs("keelstone:plugin/secrets@0.1.0", World::AdmissionCheck), Needs::Forbidden);
    }

    #[test]
    fn a_destination_has_no_sockets_and_no_keys() {
        let needs = |name| needs(name, World::BackupDestination);
        assert_eq!(needs("wasi:http/outgoing-handler@0.2.6"), Needs::Http);
        assert_eq!(needs("wasi:cli/stdout@0.2.6"), Needs::Nothing);
        for name in ["wasi:sockets/tcp@0.2.0", "wasi:http/incoming-handler@0.2.0", "keelstone:plugin/kv-read@0.1.0"] {
            assert_eq!(needs(name), Needs::Forbidden, "{name}");
        }
    }
}
