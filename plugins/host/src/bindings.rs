//! What the engine's macro makes of `plugins/wit`. Interfaces that two worlds share are made once.

pub mod admission {
    wasmtime::component::bindgen!({
        path: "../wit/0.1",
        world: "admission-check",
        imports: { default: trappable },
        additional_derives: [PartialEq],
    });
}

pub mod destination {
    wasmtime::component::bindgen!({
        path: "../wit/0.1",
        world: "backup-destination",
        imports: { default: trappable },
        exports: { default: async },
        additional_derives: [PartialEq],
        with: {
            "keelstone:plugin/log": super::admission::keelstone::plugin::log,
            "keelstone:plugin/metrics": super::admission::keelstone::plugin::metrics,
            "keelstone:plugin/clock": super::admission::keelstone::plugin::clock,
        },
    });
}

pub mod restore {
    wasmtime::component::bindgen!({
        path: "../wit/0.1",
        world: "restore-hook",
        imports: { default: trappable },
        additional_derives: [PartialEq],
        with: {
            "keelstone:plugin/log": super::admission::keelstone::plugin::log,
            "keelstone:plugin/metrics": super::admission::keelstone::plugin::metrics,
            "keelstone:plugin/clock": super::admission::keelstone::plugin::clock,
            "keelstone:plugin/types": super::admission::keelstone::plugin::types,
            "keelstone:plugin/kv-read": super::admission::keelstone::plugin::kv_read,
            "keelstone:plugin/secrets": super::destination::keelstone::plugin::secrets,
        },
    });
}
