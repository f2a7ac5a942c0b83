//! `rstuf key`: key files for root holders and signers.

use std::path::{Path, PathBuf};

use rstuf_keys::{FileKey, KeySource as _, Passphrase, SysRng};
use serde::Serialize;

use crate::{
    context::Context,
    error::Error,
    key_file::{self, failed},
};

const ENCRYPTED: &str = "\
An encrypted key's passphrase is asked for on the terminal, or read from --passphrase-file.";

const GENERATE_EXAMPLES: &str = "\
The file is PKCS#8 in PEM, as OpenSSL reads it, and only its owner may read it. A file that exists is never overwritten.

Examples:
  rstuf key generate root-1.pem
  rstuf key generate --encrypt root-2.pem
  rstuf key generate --passphrase-file root-3.pass root-3.pem";

const SHOW_EXAMPLES: &str = "\
Examples:
  rstuf key show root-1.pem
  rstuf key show --output json root-1.pem | jq -r .key_id";

/// Make and show ed25519 key files
#[derive(Debug, clap::Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key
    Generate(GenerateArgs),
    /// Show the public half of a key file
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = GENERATE_EXAMPLES)]
pub(crate) struct GenerateArgs {
    /// The file to make
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Encrypt it with a passphrase that is asked for on the terminal
    #[arg(long)]
    encrypt: bool,
    /// Encrypt it with the passphrase in this file, which must be as private as a key
    #[arg(long, value_name = "FILE", conflicts_with = "encrypt")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(before_help = ENCRYPTED, after_help = SHOW_EXAMPLES)]
pub(crate) struct ShowArgs {
    /// The key file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file with its passphrase
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Answer {
    file: String,
    key_id: String,
    keytype: String,
    public: Option<String>,
}

pub(crate) fn run(context: &Context, command: KeyCommand) -> Result<(), Error> {
    key_file::harden()?;
    match command {
        KeyCommand::Generate(args) => generate(context, &args),
        KeyCommand::Show(args) => {
            let key = key_file::open(&args.file, args.passphrase_file.as_deref())?;
            context.output.answer(&Answer::new(&args.file, &key), human)
        }
    }
}

fn generate(context: &Context, args: &GenerateArgs) -> Result<(), Error> {
    let directory = args.file.parent().filter(|directory| !directory.as_os_str().is_empty());
    if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
        let message = format!("{} cannot be made: there is no directory {}", args.file.display(), directory.display());
        return Err(Error::failed(message));
    }
    let passphrase = match &args.passphrase_file {
        Some(file) => Some(Passphrase::from_file(file).map_err(failed)?),
        None if args.encrypt => Some(key_file::ask_new(&args.file)?),
        None => None,
    };
    let key = FileKey::generate(&mut SysRng).map_err(failed)?;
    key.save(&args.file, passphrase.as_ref(), &mut SysRng).map_err(failed)?;
    context.output.answer(&Answer::new(&args.file, &key), human)
}

impl Answer {
    fn new(file: &Path, key: &FileKey) -> Self {
        let public = key.public_key();
        Self {
            file: file.display().to_string(),
            key_id: public.key_id().to_string(),
            keytype: public.keytype().to_owned(),
            public: public.as_ed25519().map(hex::encode),
        }
    }
}

fn human(answer: &Answer) -> String {
    let Answer { file, key_id, keytype, public } = answer;
    format!("file    {file}\nkey id  {key_id}\npublic  {keytype} {}", public.as_deref().unwrap_or_default())
}
