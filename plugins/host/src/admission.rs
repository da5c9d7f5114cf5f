//! Checks of writes, before they are proposed.

use crate::bindings::admission::exports::keelstone::plugin::{admission, lifecycle};
use crate::bindings::admission::{AdmissionCheck, AdmissionCheckPre};
use crate::context::{Core, Keys};
use crate::error::CallError;
use crate::log;
use crate::plugin::Plugin;
use crate::runner::{Runner, World};
use crate::settings::Problem;
use std::sync::Arc;
use wasmtime::Store;
use wasmtime::component::InstancePre;

pub use admission::{Delete, Denial, NewValue, Put, Request, Verdict, Write};

const MAX_CODE_BYTES: usize = 64;

/// A loaded check.
#[derive(Debug)]
pub struct Admission(pub(crate) Runner<AdmissionCheck>);

impl World for AdmissionCheck {
    type Pre = AdmissionCheckPre<Core>;

    fn pre(pre: InstancePre<Core>) -> wasmtime::Result<Self::Pre> {
        AdmissionCheckPre::new(pre)
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

impl Admission {
    pub fn plugin(&self) -> &Arc<Plugin> {
        self.0.plugin()
    }

    /// A verdict for each request, in their order, all by one instance. Takes as long as the check does, at most the plugin's
    /// limit: it belongs on a thread that may be kept so long, and that has a mebibyte of stack.
    ///
    /// # Errors
    /// The plugin did not answer; none of the requests was judged.
    pub fn check(&self, requests: &[Request], keys: Arc<dyn Keys>) -> Result<Vec<Verdict>, CallError> {
        self.0.call("check", keys, |guest, store| {
            let verdicts = guest.keelstone_plugin_admission().call_check(store, requests)?;
            Ok(acceptable(requests, verdicts).map_err(|reason| CallError::Reply { reason }))
        })
    }
}

/// The verdicts as they may be shown, if they fit the requests.
fn acceptable(requests: &[Request], mut verdicts: Vec<Verdict>) -> Result<Vec<Verdict>, String> {
    if verdicts.len() != requests.len() {
        return Err(format!("{} verdicts for {} requests", verdicts.len(), requests.len()));
    }
    for (request, verdict) in requests.iter().zip(&mut verdicts) {
        match verdict {
            Verdict::Allow => {}
            Verdict::Change(values) => values_fit(request, values)?,
            Verdict::Deny(denial) => {
                let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                if denial.code.is_empty() || denial.code.len() > MAX_CODE_BYTES || !denial.code.bytes().all(is_plain) {
                    return Err(format!("{:?} is no code of a denial", log::plain(&denial.code)));
                }
                denial.message = log::plain(&denial.message);
            }
        }
    }
    Ok(verdicts)
}

fn values_fit(request: &Request, values: &[NewValue]) -> Result<(), String> {
    let mut is_changed = vec![false; request.writes.len()];
    for NewValue { write, .. } in values {
        let at = usize::try_from(*write).unwrap_or(usize::MAX);
        match request.writes.get(at) {
            Some(Write::Put(Put { value: Some(_), .. })) if !is_changed[at] => is_changed[at] = true,
            Some(Write::Put(Put { value: Some(_), .. })) => return Err(format!("two values for write {write}")),
            Some(_) => return Err(format!("a value for write {write}, which has none")),
            None => return Err(format!("a value for write {write} of {}", request.writes.len())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        let put = |value| Write::Put(Put { key: b"k".to_vec(), value, lease: None });
        let delete = Write::Delete(Delete { key: b"k".to_vec(), range_end: None });
        Request { user: None, roles: Vec::new(), writes: vec![put(Some(b"v".to_vec())), put(None), delete] }
    }

    #[test]
    fn verdicts_that_do_not_fit_are_not_taken() {
        let change = |writes: &[u32]| {
            Verdict::Change(writes.iter().map(|write| NewValue { write: *write, value: Vec::new() }).collect())
        };
        let deny = |code: &str| Verdict::Deny(Denial { code: code.to_owned(), message: "a\x1b[0mb".to_owned() });
        let taken = |verdict: Verdict| acceptable(&[request()], vec![verdict]);
        assert!(taken(Verdict::Allow).is_ok() && taken(change(&[0])).is_ok() && taken(change(&[])).is_ok());
        let Verdict::Deny(denial) = taken(deny("too-long")).unwrap().remove(0) else { panic!("it was a denial") };
        assert_eq!(denial.message, "a\\u{1b}[0mb");
        for verdict in
            [change(&[1]), change(&[2]), change(&[3]), change(&[0, 0]), deny(""), deny("A b"), deny(&"x".repeat(65))]
        {
            assert!(taken(verdict.clone()).is_err(), "{verdict:?}");
        }
        assert!(acceptable(&[request()], Vec::new()).is_err());
        assert!(acceptable(&[request()], vec![Verdict::Allow, Verdict::Allow]).is_err());
    }
}
