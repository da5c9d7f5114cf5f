//! The page of the client.

use super::flags::Flag;
use super::tree::{Command, Group};
use super::{ROOT, usage};
use crate::cli::man::roff::Page;

/// `keelstone-ctl.1`.
pub fn page(date: &str) -> Page {
    let mut page = Page::new("keelstone-ctl", "a client of Keelstone and etcd, in the place of etcdctl", date);
    page.section("Synopsis");
    page.verbatim("keelstone ctl [global options] command [options] [arguments]\netcdctl ...");
    page.section("Description");
    page.paragraph(
        "Talks to members of a cluster with the commands, flags, output and exit codes of etcdctl. Linked or renamed to \
         etcdctl, the program is the client without a first word. Flags may stand anywhere.",
    );
    page.section("Commands");
    for (group, title) in Group::TITLES {
        page.subsection(title);
        for command in ROOT.sorted_children().into_iter().filter(|command| command.group == group) {
            write_command(&mut page, command, "");
        }
    }
    page.section("Global options");
    page.paragraph("Every command takes them.");
    write_flags(&mut page, ROOT.persistent);
    page.item("-h, --help", "");
    page.text("Tell what a command does and which flags it takes.");
    page.section("Environment");
    page.paragraph(
        "Every global option is also a variable: ETCDCTL_ and its name in upper case with _ for -, as in ETCDCTL_ENDPOINTS. A \
         variable and its flag given together are refused.",
    );
    page.section("See also");
    page.paragraph("keelstone-server(1), keelstone-utl(1)");
    page
}

/// With those below it, which are told by their whole names.
fn write_command(page: &mut Page, command: &Command, above: &str) {
    let (name, arguments) = command.line.split_once(' ').unwrap_or((command.line, ""));
    let path = format!("{above} {name}");
    if command.run.is_some() {
        page.item(path.trim_start(), arguments);
        page.text(if command.long.is_empty() { command.short } else { command.long });
        write_inner_flags(page, command.flags.iter().chain(command.persistent));
    } else if !command.persistent.is_empty() {
        page.item(path.trim_start(), "command");
        page.text(&format!("{}. Of all of them:", command.short));
        write_inner_flags(page, command.persistent);
    }
    command.sorted_children().into_iter().for_each(|child| write_command(page, child, &path));
}

/// The flags of the command that was told last.
pub fn write_inner_flags<'a>(page: &mut Page, flags: impl IntoIterator<Item = &'a Flag>) {
    let mut flags: Vec<&Flag> = flags.into_iter().collect();
    flags.sort_by_key(|flag| flag.name);
    if !flags.is_empty() {
        page.begin_inner();
        write_flags(page, flags);
        page.end_inner();
    }
}

pub fn write_flags<'a>(page: &mut Page, flags: impl IntoIterator<Item = &'a Flag>) {
    for flag in flags {
        let short = flag.short.map_or(String::new(), |short| format!("-{short}, "));
        page.item(&format!("{short}--{}", flag.name), flag.kind.word());
        page.text(&format!("{}{}", flag.help, usage::default(flag)));
    }
}
