//! The page of the server.

use super::roff::Page;
use crate::config::help::{self, SECTIONS};
use crate::config::kind::Kind;
use crate::config::table::{FLAGS, Flag, Section, State};

/// `keelstone-server.1`.
pub fn page(date: &str) -> Page {
    let mut page = Page::new("keelstone-server", "run a member of a cluster, in the place of etcd", date);
    page.section("Synopsis");
    page.verbatim("keelstone server [flags]\nkeelstone server --config-file FILE\netcd [flags]");
    page.section("Description");
    page.paragraph(
        "Runs a member of a cluster with the flags, API, log lines and metrics of etcd. Linked or renamed to etcd, the \
         program is the server without a first word.",
    );
    page.paragraph(
        "A flag of something that is not built yet takes only its default: any other value is refused at the start. \
         Flags take their values as in --name=m1 or --name m1, one dash or two before them.",
    );
    page.section("Options");
    for (section, title) in SECTIONS {
        page.subsection(title);
        FLAGS.iter().filter(|flag| flag.section == section).for_each(|flag| write_flag(&mut page, flag));
    }
    page.subsection("Other");
    page.item("--help", "");
    page.text("Print all flags, and leave.");
    page.item("--version", "");
    page.text("Print the version of etcd that this server behaves as, and leave.");
    page.subsection("Names of earlier releases");
    for flag in FLAGS.iter().filter(|flag| flag.section == Section::Older && flag.name != "version") {
        page.item(&format!("--{}", flag.name), placeholder(flag));
        page.text(&meaning(flag));
    }
    page.section("Environment");
    page.paragraph(help::ENVIRONMENT);
    page.section("Configuration file");
    page.paragraph(
        "With --config-file (or ETCD_CONFIG_FILE) all settings come from a file in YAML or JSON, under the names of the flags; \
         flags and variables then count for nothing. Some stand below others:",
    );
    for flag in FLAGS {
        if let Some(path) = flag.path().filter(|path| path.len() > 1) {
            let of = if flag.section == Section::FileOnly {
                "only the file has it".to_owned()
            } else {
                format!("--{}", flag.name)
            };
            page.item(&path.join(": "), "");
            page.text(&of);
        }
    }
    page.section("Exit status");
    for (status, meaning) in [
        ("0", "It was removed from its cluster, or printed what it was asked for."),
        ("1", "It could not start."),
        ("2", "The command line is wrong."),
        ("4", "It was asked to be a gateway or proxy, which is not built yet."),
        ("74", "Writing, syncing or reading the log or the state failed."),
    ] {
        page.item(status, "");
        page.text(meaning);
    }
    page.paragraph("After SIGTERM or SIGINT it ends in good order, and then by that signal.");
    page.section("See also");
    page.paragraph("keelstone-ctl(1), keelstone-utl(1)");
    page
}

fn write_flag(page: &mut Page, flag: &Flag) {
    page.item(&format!("--{}", flag.name), placeholder(flag));
    page.text(flag.help);
    if flag.name == "feature-gates" {
        page.begin_inner();
        for (gate, note) in help::gates() {
            page.item(gate, "");
            page.text(&note);
        }
        page.end_inner();
        return;
    }
    if let Some(remark) = help::remark(flag) {
        page.text(&remark);
    }
    match help::default(flag) {
        "" => {}
        default => page.text(&format!("Default: {default}")),
    }
}

/// What a flag of the past does.
fn meaning(flag: &Flag) -> String {
    match flag.state {
        State::Alias(of) => format!("The same as --{of}."),
        State::SetsGate(gate) => format!("The same as --feature-gates {gate}=true or false."),
        State::Ignored => "Taken and without effect, as in etcd.".to_owned(),
        State::Built | State::Later(_) | State::NoEffect(_) => flag.help.to_owned(),
    }
}

/// What stands for the value.
fn placeholder(flag: &Flag) -> &'static str {
    match flag.kind {
        Kind::Bool | Kind::Ignored => "",
        Kind::Uint(_) | Kind::Uint32 | Kind::Int(_) => "number",
        Kind::Duration => "duration",
        Kind::Text | Kind::Choice(_) => "text",
        Kind::Urls(_) => "urls",
        Kind::Choices(_) | Kind::UniqueWords | Kind::Words => "words",
        Kind::Gates => "gate=true|false,...",
    }
}
