//! The forms in which the tools print.

/// `--write-out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Simple,
    Fields,
    Json,
    Protobuf,
    Table,
}

impl Form {
    /// By the name of the flag's value.
    pub fn find(name: &str) -> Option<Form> {
        Some(match name {
            "simple" => Form::Simple,
            "fields" => Form::Fields,
            "json" => Form::Json,
            "protobuf" => Form::Protobuf,
            "table" => Form::Table,
            _ => return None,
        })
    }
}
