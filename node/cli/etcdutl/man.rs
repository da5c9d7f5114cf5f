//! The page of the offline tool.

use super::COMMANDS;
use super::command::{GLOBAL, Run};
use crate::cli::etcdctl::man::{write_flags, write_inner_flags};
use crate::cli::man::roff::Page;

/// `keelstone-utl.1`.
pub fn page(date: &str) -> Page {
    let mut page = Page::new("keelstone-utl", "work on files of Keelstone and etcd, in the place of etcdutl", date);
    page.section("Synopsis");
    page.verbatim("keelstone utl [global options] command [options] [arguments]\netcdutl ...");
    page.section("Description");
    page.paragraph(
        "Works on data directories and snapshot files without a server, with the commands, flags, output and exit codes of \
         etcdutl. Linked or renamed to etcdutl, the program is this tool without a first word. Flags may stand anywhere.",
    );
    page.section("Commands");
    for command in COMMANDS {
        page.item(&command.words.join(" "), command.arguments);
        if let Run::Rest { help, .. } = command.run {
            page.text(help);
            continue;
        }
        page.text(command.short);
        write_inner_flags(&mut page, command.flags.iter().copied().flatten());
    }
    page.section("Global options");
    page.paragraph("Every command but preflight takes them.");
    write_flags(&mut page, GLOBAL);
    page.item("-h, --help", "");
    page.text("Tell what a command does and which flags it takes.");
    page.section("See also");
    page.paragraph("keelstone-server(1), keelstone-ctl(1)");
    page
}
