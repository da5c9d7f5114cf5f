//! The forms of an answer: simple, json, fields, protobuf, table. A file per service says what its answers look
//! like; `json` and `table` hold what is common. Which form an answer does not have is etcdctl's choice.

mod access;
mod cluster;
mod fields;
pub mod json;
mod keys;
mod leases;
mod maintenance;

pub use access::{Named, Permitted};
pub use cluster::{Changed, Hashed, Health, State};
pub use keys::type_of;
pub use maintenance::{Downgraded, Moved};

use super::failure::{BAD_FEATURE, Failure, Outcome};
pub use crate::cli::form::Form;
use crate::cli::table::Table;
use fields::Fields;
use std::io::Write;

/// A message of the API: its JSON and protobuf forms follow from it.
pub trait Wire {
    /// Without the end of the line.
    fn to_json(&self) -> String;
    fn to_protobuf(&self) -> Vec<u8>;
}

impl<M: json::Json + prost::Message> Wire for M {
    fn to_json(&self) -> String {
        json::write(self)
    }

    fn to_protobuf(&self) -> Vec<u8> {
        self.encode_to_vec()
    }
}

/// Something to print, in whatever forms it has.
pub trait Answer {
    fn simple(&self, out: &mut Text);

    /// What came from the server. `None`: the forms are made otherwise.
    fn message(&self) -> Option<&dyn Wire> {
        None
    }

    /// Without the end of the line. `hex` is `--hex`.
    fn json(&self, _hex: bool) -> String {
        self.message().map(Wire::to_json).unwrap_or_default()
    }

    /// `None`: it has no such form.
    fn protobuf(&self) -> Option<Vec<u8>> {
        self.message().map(Wire::to_protobuf)
    }

    /// False: it has no such form.
    fn fields(&self, _: &mut Fields) -> bool {
        false
    }

    /// `None`: it has no such form.
    fn table(&self) -> Option<Table> {
        None
    }
}

/// Where the simple form goes: keys and values may be any bytes.
#[derive(Debug)]
pub struct Text {
    out: Vec<u8>,
    /// For stderr.
    complaints: String,
    hex: bool,
    values_only: bool,
}

impl Text {
    fn new(printer: &Printer) -> Self {
        Self { out: Vec::new(), complaints: String::new(), hex: printer.hex, values_only: printer.values_only }
    }

    /// A line for stderr.
    pub fn complain(&mut self, text: String) {
        self.complaints.push_str(&text);
        self.complaints.push('\n');
    }

    pub fn line(&mut self, text: impl AsRef<[u8]>) {
        self.out.extend_from_slice(text.as_ref());
        self.out.push(b'\n');
    }

    /// Lines with their ends.
    pub fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Key and value, a line each.
    pub fn pair(&mut self, pair: &keelstone_proto::mvccpb::KeyValue) {
        if !self.values_only {
            self.bytes(&pair.key);
        }
        self.bytes(&pair.value);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if self.hex {
            self.line(bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>());
        } else {
            self.line(bytes);
        }
    }
}

/// How a command prints.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    pub form: Form,
    pub hex: bool,
    pub values_only: bool,
}

impl Printer {
    /// Prints an answer.
    ///
    /// # Errors
    /// If it has no such form, or stdout cannot be written.
    pub fn show(&self, answer: &impl Answer) -> Outcome {
        let unsupported = |form| Failure::new(BAD_FEATURE, format_args!("{form} not supported as output format"));
        let bytes = match self.form {
            Form::Simple => {
                let mut text = Text::new(self);
                answer.simple(&mut text);
                eprint!("{}", text.complaints);
                text.out
            }
            Form::Json => (answer.json(self.hex) + "\n").into_bytes(),
            Form::Protobuf => answer.protobuf().ok_or_else(|| unsupported("protobuf"))?,
            Form::Table => answer.table().ok_or_else(|| unsupported("table"))?.draw().into_bytes(),
            Form::Fields => {
                let mut fields = Fields::new(self.hex);
                if !answer.fields(&mut fields) {
                    return Err(unsupported("fields"));
                }
                fields.end()
            }
        };
        print(&bytes)
    }
}

/// Writes to stdout at once: whoever reads a watch waits for its lines.
pub fn print(bytes: &[u8]) -> Outcome {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}
