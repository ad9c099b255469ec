//! The card that `backoffice dev` ends its start with: where everything is, who is signed in, what
//! to try.

use std::path::Path;

use crate::desktop::{device::Device, stack_file::StackFile};

/// Text of about a dozen lines, without a trailing line break.
pub fn card(program: &Path, stack_dir: &Path, stack: &StackFile, device: &Device) -> String {
    let desktop = desktop_command(program, stack_dir);
    let service = &stack.backoffice_url;
    let docs = at_root(service, "/docs");
    let metrics = at_root(&stack.admin_url, "/metrics");
    let world = at_root(&stack.simulator_url, "/sim/world");
    let property_id = device.property_ids.first().map_or("no property", String::as_str);
    let (operator_id, tenant_id) = (&device.operator_id, &device.tenant_id);
    let folder = stack_dir.display();
    format!(
        "
  The back office is up. Ctrl-C stops it and everything under it.

  service    {service}   (docs: {docs})
  metrics    {metrics}
  simulator  {world}
  settings   {folder}/env   logs: {folder}/log/

  operator   {operator_id}
  tenant     {tenant_id}
  property   {property_id}

  Try, in another terminal:
    {desktop} bootstrap
    {desktop} raise --severity high --title 'Boiler pressure is low'
    {desktop} acknowledge latest
    {desktop} dashboard
  More: {desktop} --help   (board, live, alerts, request, sign-in)
"
    )
}

fn at_root(url: &url::Url, path: &str) -> String {
    url.join(path).map_or_else(|_| path.to_owned(), String::from)
}

/// How the desktop is called from the current folder.
fn desktop_command(program: &Path, stack_dir: &Path) -> String {
    let current = std::env::current_dir().ok();
    let relative = current.as_deref().and_then(|folder| program.strip_prefix(folder).ok());
    let program = quoted(&relative.unwrap_or(program).to_string_lossy());
    let default = current.map(|folder| folder.join(".dev"));
    if stack_dir == Path::new(".dev") || default.is_some_and(|default| default == stack_dir) {
        format!("{program} desktop")
    } else {
        format!("{program} desktop --stack-dir {}", quoted(&stack_dir.to_string_lossy()))
    }
}

/// As a shell reads it back.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_folder_is_not_named_in_the_commands() {
        let here = std::env::current_dir().unwrap();
        let program = here.join("target/debug/backoffice");
        let command = |stack_dir: &Path| desktop_command(&program, stack_dir);

        assert_eq!(command(Path::new(".dev")), "target/debug/backoffice desktop");
        assert_eq!(command(&here.join(".dev")), "target/debug/backoffice desktop");
        assert_eq!(
            command(Path::new("/srv/my stack")),
            "target/debug/backoffice desktop --stack-dir '/srv/my stack'"
        );
    }

    #[test]
    fn a_word_survives_the_shell() {
        assert_eq!(quoted("a/b_c-d.e"), "a/b_c-d.e");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
