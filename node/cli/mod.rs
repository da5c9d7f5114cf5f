//! One binary, three faces: the server as `etcd`, the client as `etcdctl`, the offline tool as `etcdutl`. The name
//! it was started by decides, or else the first argument: `keelstone server|ctl|utl`.

mod absent;
mod data_dir;
mod default_host;
mod etcd;
mod etcdctl;
mod etcdutl;
mod exit;
mod form;
mod man;
mod notices;
mod progress;
mod start_line;
mod table;
mod version;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Which program to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Face {
    Server,
    Ctl,
    Utl,
}

/// What the words on the command line call for.
#[derive(Debug, PartialEq, Eq)]
enum Choice<'a> {
    /// A face and its arguments.
    Face(Face, &'a [String]),
    /// `keelstone man` and what follows.
    Man(&'a [String]),
    /// `keelstone --version`, `keelstone --help`.
    Version,
    Help,
    /// A program of etcd's that is not here; what is said of it.
    Absent(&'static str),
    /// None of these.
    Unclear,
}

const HELP: &str = "Keelstone, a server in etcd's place.

  keelstone server [flags]   run a member; --help lists the flags, which are etcd's
  keelstone ctl ...          the client; --help lists the commands, which are etcdctl's
  keelstone utl ...          work on files; --help lists the commands, which are etcdutl's
  keelstone --version

Linked as etcd, etcdctl or etcdutl it is that program without a first word.
";

/// A panic is a broken invariant, on whatever thread: the process ends, in every build profile.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
}

/// Runs the program that this process was started as.
pub fn main() -> ExitCode {
    abort_on_panic();
    // Like Go we work on bytes that are nearly always text; what is not shows up as such in the refusal.
    let args: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    match choose(&args) {
        Choice::Face(Face::Server, rest) => etcd::run(&args, rest),
        Choice::Face(Face::Ctl, rest) => etcdctl::run(rest),
        Choice::Face(Face::Utl, rest) => etcdutl::run(rest),
        Choice::Man(rest) => man::run(rest),
        Choice::Absent(said) => absent::answer(said),
        Choice::Version => print_out(&version::own()),
        Choice::Help => print_out(HELP),
        Choice::Unclear => {
            eprint!("{HELP}");
            ExitCode::from(2)
        }
    }
}

/// Writes what was asked for. A reader that left early (`… | head`) is no reason to panic.
fn print_out(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn choose(args: &[String]) -> Choice<'_> {
    let Some((program, rest)) = args.split_first() else { return Choice::Unclear };
    match Path::new(program).file_name().and_then(|name| name.to_str()) {
        Some("etcd") => return Choice::Face(Face::Server, rest),
        Some("etcdctl") => return Choice::Face(Face::Ctl, rest),
        Some("etcdutl") => return Choice::Face(Face::Utl, rest),
        _ => {}
    }
    let Some((word, rest)) = rest.split_first() else { return Choice::Unclear };
    match word.as_str() {
        "server" => Choice::Face(Face::Server, rest),
        "ctl" => Choice::Face(Face::Ctl, rest),
        "utl" => Choice::Face(Face::Utl, rest),
        "man" => Choice::Man(rest),
        "--version" | "-version" => Choice::Version,
        "--help" | "-help" | "-h" => Choice::Help,
        word => absent::of(word).map_or(Choice::Unclear, Choice::Absent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_beats_the_first_word() {
        let args = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        for (words, face) in [
            (&["/usr/bin/etcd", "ctl"][..], Some((Face::Server, 1))),
            (&["etcdctl"], Some((Face::Ctl, 0))),
            (&["./etcdutl", "x"], Some((Face::Utl, 1))),
            (&["keelstone", "server", "--name", "x"], Some((Face::Server, 2))),
            (&["keelstone-0.1", "utl"], Some((Face::Utl, 0))),
            (&["keelstone"], None),
            (&["keelstone", "--name"], None),
        ] {
            let args = args(words);
            let chosen = match choose(&args) {
                Choice::Face(face, rest) => Some((face, rest.len())),
                _ => None,
            };
            assert_eq!(chosen, face, "{words:?}");
        }
    }
}
