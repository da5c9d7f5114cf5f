//! Plugins of Keelstone in Rust. A check of writes, in full:
//!
//! ```ignore
//! use keelstone_plugin::admission::{Check, Request, Verdict};
//! use keelstone_plugin::{Problem, deny, settings};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(rename_all = "kebab-case")]
//! struct OnlyLowerCase { max_key_bytes: usize }
//!
//! impl Check for OnlyLowerCase {
//!     fn start(given: &str) -> Result<Self, Vec<Problem>> {
//!         settings(given)
//!     }
//!
//!     fn check(&self, request: &Request) -> Verdict {
//!         match request.writes.iter().any(|write| write.key().len() > self.max_key_bytes) {
//!             true => deny("key-too-long", format!("keys are at most {} bytes", self.max_key_bytes)),
//!             false => Verdict::Allow,
//!         }
//!     }
//! }
//!
//! keelstone_plugin::admission_check!(OnlyLowerCase);
//! ```

use serde::de::DeserializeOwned;

/// Made of `plugins/wit`, for a check.
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit/0.1",
        world: "admission-check",
        pub_export_macro: true,
        default_bindings_module: "keelstone_plugin::bindings",
    });
}

pub use bindings::exports::keelstone::plugin::lifecycle::Problem;
pub use bindings::keelstone::plugin::{clock, kv_read, log, metrics};

/// Checks of writes.
pub mod admission {
    use crate::Problem;
    pub use crate::bindings::exports::keelstone::plugin::admission::{
        Delete, Denial, NewValue, Put, Request, Verdict, Write,
    };

    /// One instance of a check.
    pub trait Check: Sized + 'static {
        /// Makes one of the settings, a JSON object.
        ///
        /// # Errors
        /// What is wrong with them.
        fn start(settings: &str) -> Result<Self, Vec<Problem>>;

        /// Judges one request.
        fn check(&self, request: &Request) -> Verdict;
    }

    impl Write {
        /// The key, or the first of a range that is deleted.
        pub fn key(&self) -> &[u8] {
            match self {
                Self::Put(put) => &put.key,
                Self::Delete(delete) => &delete.key,
            }
        }
    }
}

/// Reads settings into a type of the plugin's. The node has checked them against the manifest.
///
/// # Errors
/// The type and the manifest do not say the same.
pub fn settings<T: DeserializeOwned>(given: &str) -> Result<T, Vec<Problem>> {
    serde_json::from_str(given).map_err(|error| vec![Problem { setting: String::new(), message: error.to_string() }])
}

/// `code` is for programs, lower-case words with dashes; `message` for people.
pub fn deny(code: &str, message: impl Into<String>) -> admission::Verdict {
    admission::Verdict::Deny(admission::Denial { code: code.to_owned(), message: message.into() })
}

/// A panic ends the instance without a word, unless it is logged first.
#[doc(hidden)]
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| log::write(log::Level::Error, &panic.to_string())));
}

/// Makes the plugin of a type that implements [`admission::Check`].
#[macro_export]
macro_rules! admission_check {
    ($check:ty) => {
        const _: () = {
            use $crate::bindings::exports::keelstone::plugin::{admission, lifecycle};

            struct Plugin;

            // There are no threads in a plugin.
    thread_local!(static CHECK: std::cell::RefCell<Option<$check>> = const { std::cell::RefCell::new(None) });

            impl lifecycle::Guest for Plugin {
                fn start(settings: String) -> Result<(), Vec<$crate::Problem>> {
                    $crate::log_panics();
                    let check = <$check as $crate::admission::Check>::start(&settings)?;
                    CHECK.set(Some(check));
                    Ok(())
                }
            }

            impl admission::Guest for Plugin {
                fn check(requests: Vec<admission::Request>) -> Vec<admission::Verdict> {
                    CHECK.with_borrow(|check| {
                        let check = check.as_ref().expect("the node calls `start` first");
                        requests.iter().map(|request| $crate::admission::Check::check(check, request)).collect()
                    })
                }
            }

    $crate::bindings::export!(Plugin with_types_in $crate::bindings);
        };
    };
}
