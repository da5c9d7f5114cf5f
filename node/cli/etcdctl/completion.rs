//! `etcdctl completion`: scripts for shells, made from the commands and flags themselves.

use super::failure::Outcome;
use super::flags::Flag;
use super::tree::{Command, Group, HELP};
use super::{Call, ROOT, go, printer};

pub(super) static COMMAND: Command = Command {
    line: "completion [bash|zsh|fish|powershell]",
    short: "Prints a script that lets a shell complete commands and flags",
    long: "Prints a script that lets a shell complete commands and flags:

  bash:  source <(etcdctl completion bash)
  zsh:   source <(etcdctl completion zsh)
  fish:  etcdctl completion fish | source
  PowerShell:  etcdctl completion powershell | Out-String | Invoke-Expression

To have it in every session, write the script to where the shell looks for such scripts.
",
    group: Group::Utility,
    run: Some(|call| Box::pin(run(call))),
    ..Command::PLAIN
};

const SHELLS: [&str; 4] = ["bash", "zsh", "fish", "powershell"];

/// `Err` is cobra's text for other words than one shell.
pub fn check(program: &str, words: &[String]) -> Result<(), String> {
    match words {
        [shell] if SHELLS.contains(&shell.as_str()) => Ok(()),
        [other] => Err(format!("invalid argument {} for \"{program} completion\"", go::quote(other.as_bytes()))),
        _ => Err(format!("accepts 1 arg(s), received {}", words.len())),
    }
}

async fn run(call: &mut Call) -> Outcome {
    let mut nodes = Vec::new();
    walk(&ROOT, "", &mut nodes);
    let everywhere: Vec<&Flag> = ROOT.persistent.iter().chain(HELP).collect();
    printer::print(script(&call.words()[0], "etcdctl", &nodes, &everywhere).as_bytes())
}

/// A place on a command line: the words so far, and what may follow.
#[derive(Debug)]
pub struct Node {
    /// Joined by blanks; empty for the program.
    pub path: String,
    /// Names and what they are.
    pub children: Vec<(&'static str, &'static str)>,
    pub flags: Vec<&'static Flag>,
}

/// The script for a shell that [`check`] lets pass; `everywhere` are the flags that may stand at any place.
pub fn script(shell: &str, program: &str, nodes: &[Node], everywhere: &[&Flag]) -> String {
    match shell {
        "zsh" => {
            let bash = bash(program, nodes, everywhere);
            format!("#compdef {program}\nautoload -U +X bashcompinit && bashcompinit\n{bash}")
        }
        "fish" => fish(program, nodes),
        "powershell" => powershell(program, nodes, everywhere),
        _ => bash(program, nodes, everywhere),
    }
}

/// Every command with the words before it.
fn walk(command: &'static Command, path: &str, nodes: &mut Vec<Node>) {
    let children = command.sorted_children();
    nodes.push(Node {
        path: path.to_owned(),
        children: children.iter().map(|child| (child.name(), child.short)).collect(),
        flags: command.flags.iter().chain(command.persistent).collect(),
    });
    for child in children {
        walk(child, format!("{path} {}", child.name()).trim_start(), nodes);
    }
}

/// A table from the words so far to what may follow; words that are no commands end the path.
fn bash(program: &str, nodes: &[Node], everywhere: &[&Flag]) -> String {
    let mut cases = String::new();
    for Node { path, children, flags } in nodes {
        let names = children.iter().map(|(name, _)| (*name).to_owned());
        let words: Vec<String> = names.chain(flags.iter().map(|flag| format!("--{}", flag.name))).collect();
        cases.push_str(&format!("        \"{path}\") words=\"{}\" ;;\n", words.join(" ")));
    }
    let everywhere: Vec<String> = everywhere.iter().map(|flag| format!("--{}", flag.name)).collect();
    format!(
        "_{program}_words() {{
    case \"$1\" in
{cases}        *) return 1 ;;
    esac
}}

_{program}() {{
    local current=\"${{COMP_WORDS[COMP_CWORD]}}\" path=\"\" word words
    for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do
        [[ \"$word\" == -* ]] && continue
        _{program}_words \"${{path:+$path }}$word\" && path=\"${{path:+$path }}$word\"
    done
    _{program}_words \"$path\"
    [[ \"$current\" == -* ]] && words=\"$words {}\"
    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))
    [[ ${{#COMPREPLY[@]}} -eq 0 ]] && COMPREPLY=($(compgen -f -- \"$current\"))
}}

complete -F _{program} {program}
",
        everywhere.join(" ")
    )
}

/// As [`bash`], as a completer of a native program.
fn powershell(program: &str, nodes: &[Node], everywhere: &[&Flag]) -> String {
    let list = |words: Vec<String>| words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ");
    let flags = |flags: &[&Flag]| flags.iter().map(|flag| format!("--{}", flag.name)).collect::<Vec<_>>();
    let mut rows = String::new();
    for node in nodes {
        let names = node.children.iter().map(|(name, _)| (*name).to_owned());
        let words = names.chain(flags(&node.flags)).collect();
        rows.push_str(&format!("        '{}' = @({})\n", node.path, list(words)));
    }
    format!(
        "Register-ArgumentCompleter -Native -CommandName '{program}' -ScriptBlock {{
    param($current, $line, $cursor)
    $words = @{{
{rows}    }}
    $path = ''
    foreach ($element in $line.CommandElements | Select-Object -Skip 1) {{
        if ($element.Extent.EndOffset -ge $cursor) {{ break }}
        $next = \"$path $($element.Extent.Text)\".Trim()
        if ($words.ContainsKey($next)) {{ $path = $next }}
    }}
    $found = $words[$path]
    if ($current.StartsWith('-')) {{ $found += @({}) }}
    $found | Where-Object {{ $_.StartsWith($current) }} | Sort-Object -Unique | ForEach-Object {{
        [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
    }}
}}
",
        list(flags(everywhere))
    )
}

/// A line for each command and flag, with the words that have to be there before it.
fn fish(program: &str, nodes: &[Node]) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let mut script = format!("complete -c {program} -f\n");
    for Node { path, children, flags } in nodes {
        let seen: Vec<String> = path
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(|word| format!("__fish_seen_subcommand_from {word}"))
            .collect();
        let condition = if seen.is_empty() { "__fish_use_subcommand".to_owned() } else { seen.join("; and ") };
        for (name, short) in children {
            let short = quoted(short);
            script.push_str(&format!("complete -c {program} -n '{condition}' -a {name} -d {short}\n"));
        }
        // The program's flags may stand anywhere.
        let condition = if seen.is_empty() { "true".to_owned() } else { condition };
        for flag in flags {
            let short = flag.short.map_or(String::new(), |short| format!(" -s {short}"));
            let help = quoted(flag.help);
            script.push_str(&format!("complete -c {program} -n '{condition}' -l {}{short} -d {help}\n", flag.name));
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_flag_is_in_the_script_of_every_shell() {
        let mut nodes = Vec::new();
        walk(&ROOT, "", &mut nodes);
        let everywhere: Vec<&Flag> = ROOT.persistent.iter().chain(HELP).collect();
        for shell in SHELLS {
            let script = script(shell, "etcdctl", &nodes, &everywhere);
            for node in &nodes {
                for (name, _) in &node.children {
                    assert!(script.contains(name), "{shell}: {} {name}", node.path);
                }
                for flag in &node.flags {
                    let named = [format!("--{}", flag.name), format!("-l {}", flag.name)];
                    assert!(named.iter().any(|named| script.contains(named)), "{shell}: {} {named:?}", node.path);
                }
            }
            if shell == "powershell" {
                let count = |sign| script.matches(sign).count();
                assert_eq!((count('{'), count('(')), (count('}'), count(')')));
            }
        }
    }
}
