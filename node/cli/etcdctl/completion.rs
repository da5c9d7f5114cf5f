//! `etcdctl completion`: scripts for shells, made from the commands and flags themselves.

use super::failure::{Failure, Outcome};
use super::tree::{Command, Group, HELP};
use super::{Call, ROOT, go, printer};
use crate::cli::not_built;

pub static COMMAND: Command = Command {
    line: "completion [bash|zsh|fish|powershell]",
    short: "Prints a script that lets a shell complete commands and flags",
    long: "Prints a script that lets a shell complete commands and flags:

  bash:  source <(etcdctl completion bash)
  zsh:   source <(etcdctl completion zsh)
  fish:  etcdctl completion fish | source

To have it in every session, write the script to where the shell looks for such scripts.
",
    group: Group::Utility,
    run: Some(|call| Box::pin(run(call))),
    ..Command::PLAIN
};

const SHELLS: [&str; 4] = ["bash", "zsh", "fish", "powershell"];

/// `Err` is cobra's text for other words than one shell.
pub fn check(words: &[String]) -> Result<(), String> {
    match words {
        [shell] if SHELLS.contains(&shell.as_str()) => Ok(()),
        [other] => Err(format!("invalid argument {} for \"etcdctl completion\"", go::quote(other.as_bytes()))),
        _ => Err(format!("accepts 1 arg(s), received {}", words.len())),
    }
}

async fn run(call: &mut Call) -> Outcome {
    let script = match call.words()[0].as_str() {
        "bash" => bash(),
        "zsh" => format!("#compdef etcdctl\nautoload -U +X bashcompinit && bashcompinit\n{}", bash()),
        "fish" => fish(),
        shell => {
            let text = format!("completion {shell} is not built yet in Keelstone; there is bash, zsh and fish");
            return Err(Failure::new(not_built::EXIT_NOT_BUILT, text));
        }
    };
    printer::print(script.as_bytes())
}

/// Every command with the words before it.
fn walk(command: &'static Command, path: &str, visit: &mut impl FnMut(&'static Command, &str)) {
    visit(command, path);
    for child in command.sorted_children() {
        walk(child, format!("{path} {}", child.name()).trim_start(), visit);
    }
}

fn own_flags(command: &Command) -> impl Iterator<Item = &'static super::flags::Flag> {
    command.flags.iter().chain(command.persistent)
}

/// A table from the words so far to what may follow; words that are no commands end the path.
fn bash() -> String {
    let mut cases = String::new();
    walk(&ROOT, "", &mut |command, path| {
        let names = command.sorted_children().into_iter().map(|child| child.name().to_owned());
        let flags = own_flags(command).map(|flag| format!("--{}", flag.name));
        let words: Vec<String> = names.chain(flags).collect();
        cases.push_str(&format!("        \"{path}\") words=\"{}\" ;;\n", words.join(" ")));
    });
    let global: Vec<String> = ROOT.persistent.iter().chain(HELP).map(|flag| format!("--{}", flag.name)).collect();
    format!(
        "_etcdctl_words() {{
    case \"$1\" in
{cases}        *) return 1 ;;
    esac
}}

_etcdctl() {{
    local current=\"${{COMP_WORDS[COMP_CWORD]}}\" path=\"\" word words
    for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do
        [[ \"$word\" == -* ]] && continue
        _etcdctl_words \"${{path:+$path }}$word\" && path=\"${{path:+$path }}$word\"
    done
    _etcdctl_words \"$path\"
    [[ \"$current\" == -* ]] && words=\"$words {}\"
    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))
    [[ ${{#COMPREPLY[@]}} -eq 0 ]] && COMPREPLY=($(compgen -f -- \"$current\"))
}}

complete -F _etcdctl etcdctl
",
        global.join(" ")
    )
}

/// A line for each command and flag, with the words that have to be there before it.
fn fish() -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let mut script = "complete -c etcdctl -f\n".to_owned();
    walk(&ROOT, "", &mut |command, path| {
        let seen: Vec<String> = path
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(|word| format!("__fish_seen_subcommand_from {word}"))
            .collect();
        let condition = if seen.is_empty() { "__fish_use_subcommand".to_owned() } else { seen.join("; and ") };
        for child in command.sorted_children() {
            let (name, short) = (child.name(), quoted(child.short));
            script.push_str(&format!("complete -c etcdctl -n '{condition}' -a {name} -d {short}\n"));
        }
        // The root's flags may stand anywhere.
        let condition = if seen.is_empty() { "true".to_owned() } else { condition };
        for flag in own_flags(command) {
            let short = flag.short.map_or(String::new(), |short| format!(" -s {short}"));
            let help = quoted(flag.help);
            script.push_str(&format!("complete -c etcdctl -n '{condition}' -l {}{short} -d {help}\n", flag.name));
        }
    });
    script
}
