//! Hooks around a restore.

use crate::bindings::restore::exports::keelstone::plugin::{lifecycle, restore};
use crate::bindings::restore::{RestoreHook as Guest, RestoreHookPre};
use crate::context::{Core, KeyValue, Keys, NoKeys};
use crate::error::CallError;
use crate::log;
use crate::plugin::Plugin;
use crate::runner::{Runner, World};
use crate::settings::Problem;
use std::sync::Arc;
use wasmtime::Store;
use wasmtime::component::InstancePre;

pub use restore::{Action, Entry, Finding, Plan, Refusal, Severity, Source, Tally};

/// A loaded hook. Its stages are called in the order in which they stand here.
#[derive(Debug)]
pub struct RestoreHook(pub(crate) Runner<Guest>);

impl World for Guest {
    type Pre = RestoreHookPre<Core>;

    fn pre(pre: InstancePre<Core>) -> wasmtime::Result<Self::Pre> {
        RestoreHookPre::new(pre)
    }

    fn instantiate(pre: &Self::Pre, store: &mut Store<Core>) -> wasmtime::Result<Self> {
        pre.instantiate(store)
    }

    fn start(&self, store: &mut Store<Core>, settings: &str) -> wasmtime::Result<Result<(), Vec<Problem>>> {
        let started = self.keelstone_plugin_lifecycle().call_start(store, settings)?;
        let problem = |found: lifecycle::Problem| Problem::shown(&found.setting, &found.message);
        Ok(started.map_err(|problems| problems.into_iter().map(problem).collect()))
    }
}

/// What a stage came to: the hook's answer, or its refusal.
pub type Stage<R> = Result<Result<R, Refusal>, CallError>;

impl RestoreHook {
    pub fn plugin(&self) -> &Arc<Plugin> {
        self.0.plugin()
    }

    /// What the hook wants to see of this backup.
    ///
    /// # Errors
    /// The plugin did not answer, as in all stages: the restore must not go on.
    pub fn begin(&self, source: &Source) -> Stage<Plan> {
        self.0.call("begin", Arc::new(NoKeys), |guest, store| {
            Ok(Ok(guest.keelstone_plugin_restore().call_begin(store, source)?.map_err(shown)))
        })
    }

    /// An action for each key.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn transform(&self, keys: &[KeyValue]) -> Stage<Vec<Action>> {
        self.0.call("transform", Arc::new(NoKeys), |guest, store| {
            let actions = guest.keelstone_plugin_restore().call_transform(store, keys)?;
            Ok(match actions {
                Ok(actions) if actions.len() != keys.len() => {
                    Err(CallError::Reply { reason: format!("{} actions for {} keys", actions.len(), keys.len()) })
                }
                Ok(actions) => Ok(Ok(actions.into_iter().map(shown_action).collect())),
                Err(refusal) => Ok(Err(shown(refusal))),
            })
        })
    }

    /// Entries to add.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn finish(&self, tally: Tally) -> Stage<Vec<Entry>> {
        self.0.call("finish", Arc::new(NoKeys), |guest, store| {
            Ok(Ok(guest.keelstone_plugin_restore().call_finish(store, tally)?.map_err(shown)))
        })
    }

    /// What the hook finds in the new store.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn verify(&self, tally: Tally, keys: Arc<dyn Keys>) -> Stage<Vec<Finding>> {
        self.0.call("verify", keys, |guest, store| {
            let found = guest.keelstone_plugin_restore().call_verify(store, tally)?;
            Ok(Ok(found.map(|found| found.into_iter().map(shown_finding).collect()).map_err(shown)))
        })
    }
}

/// The words of a guest as they can be shown.
fn shown(Refusal { code, message }: Refusal) -> Refusal {
    Refusal { code: log::plain(&code), message: log::plain(&message) }
}

fn shown_action(action: Action) -> Action {
    match action {
        Action::Drop(reason) => Action::Drop(log::plain(&reason)),
        Action::Keep | Action::Replace(_) => action,
    }
}

fn shown_finding(Finding { severity, code, message }: Finding) -> Finding {
    Finding { severity, code: log::plain(&code), message: log::plain(&message) }
}
