//! Spanish translation of the help and of usage errors. The English texts are beside the commands; a test checks that each is translated.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use super::spanish::SPANISH;
use crate::lang::Lang;

/// The command with its help in the given language.
pub(super) fn translated(command: Command, lang: Lang) -> Command {
    match lang {
        Lang::En => command,
        Lang::Es => spanish(command.subcommand_required(false)),
    }
}

fn spanish(command: Command) -> Command {
    let required = command.is_arg_required_else_help_set();
    let names: Vec<String> = command.get_subcommands().map(|inner| inner.get_name().to_owned()).collect();
    let mut command = command
        .subcommand_help_heading("Comandos")
        .help_template("{about-with-newline}\n{usage-heading} {usage}\n\n{all-args}{after-help}")
        .disable_help_subcommand(true)
        .disable_help_flag(true)
        .arg(
            Arg::new("help")
                .short('h')
                .long("help")
                .action(clap::ArgAction::Help)
                .help("Mostrar esta ayuda")
                .help_heading("Opciones"),
        )
        .arg_required_else_help(required);
    if let Some(about) = command.get_about().map(StyledStr::to_string) {
        command = command.about(translate(&about).unwrap_or(&about).to_owned());
    }
    command = command.mut_args(|arg| {
        let heading = if arg.is_positional() { "Argumentos" } else { "Opciones" };
        let help = arg.get_help().map(StyledStr::to_string);
        let arg = arg.help_heading(heading);
        match help {
            Some(help) => arg.help(translate(&help).unwrap_or(&help).to_owned()),
            None => arg,
        }
    });
    for name in names {
        command = command.mut_subcommand(name, spanish);
    }
    command
}

/// The Spanish translation of a help text.
pub(super) fn translate(english: &str) -> Option<&'static str> {
    SPANISH.iter().find(|(text, _)| *text == english).map(|(_, spanish)| *spanish)
}

/// The value of an option in a command line that is not parsed yet.
pub(super) fn option(words: &[OsString], names: &[&str]) -> Option<String> {
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        for name in names {
            let Some(rest) = word.strip_prefix(name) else { continue };
            if rest.is_empty() {
                return words.next().map(str::to_owned);
            }
            // `--lang=es`, and `-ojson`
            let value = rest.strip_prefix('=').or_else(|| (!name.starts_with("--")).then_some(rest));
            if let Some(value) = value {
                return Some(value.to_owned());
            }
        }
    }
    None
}

/// A usage error as one sentence.
pub(super) fn sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// The text of a usage error, in the given language.
pub(super) fn usage_error(error: &clap::Error, lang: Lang) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(all)) => all.join(" "),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let arg = text(ContextKind::InvalidArg);
    let spanish = match (lang, error.kind()) {
        (Lang::En, _) => None,
        (_, ErrorKind::UnknownArgument) => Some(format!("la opción «{arg}» no existe en este comando")),
        (_, ErrorKind::InvalidSubcommand) => {
            Some(format!("no existe el comando «{}»", text(ContextKind::InvalidSubcommand)))
        }
        (_, ErrorKind::MissingRequiredArgument) => Some(format!("falta {arg}")),
        (_, ErrorKind::InvalidValue | ErrorKind::ValueValidation) => {
            let (value, valid) = (text(ContextKind::InvalidValue), text(ContextKind::ValidValue));
            let valid = if valid.is_empty() { String::new() } else { format!("; valores posibles: {valid}") };
            Some(match value.is_empty() {
                true => format!("{arg} necesita un valor{valid}"),
                false => format!("«{value}» no es un valor válido de {arg}{valid}"),
            })
        }
        (_, ErrorKind::ArgumentConflict) => {
            Some(format!("{arg} no se puede combinar con {}", text(ContextKind::PriorArg)))
        }
        (_, _) => None,
    };
    match spanish {
        Some(sentence) => format!("error: {sentence}\n\nPara más información: --help\n"),
        None => error.render().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    /// Our help texts of a command and all its subcommands.
    fn texts(command: &Command, found: &mut Vec<String>) {
        found.extend(command.get_about().map(StyledStr::to_string));
        for arg in command.get_arguments() {
            found.extend(arg.get_help().map(StyledStr::to_string));
        }
        command.get_subcommands().for_each(|inner| texts(inner, found));
    }

    #[test]
    fn every_help_text_is_translated() {
        let mut found = Vec::new();
        texts(&Cli::command(), &mut found);
        let missing: Vec<&String> = found.iter().filter(|text| translate(text).is_none()).collect();
        assert!(missing.is_empty(), "without Spanish: {missing:#?}");
        assert!(SPANISH.iter().all(|(english, spanish)| english != spanish));
    }

    #[test]
    fn options_are_found_before_the_line_is_parsed() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        for line in ["c status --lang es", "c --lang=es", "c x -o table --lang es"] {
            assert_eq!(option(&words(line), &["--lang"]).as_deref(), Some("es"), "{line}");
        }
        for line in ["c status -o json", "c -ojson", "c --output=json x", "c --output json"] {
            assert_eq!(option(&words(line), &["-o", "--output"]).as_deref(), Some("json"), "{line}");
        }
        assert_eq!(option(&words("c status"), &["--lang"]), None);
    }
}
