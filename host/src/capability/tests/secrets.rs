use std::time::{Duration, Instant};

use super::super::SecretSource;
use super::*;
use crate::ErrorKind;

async fn resolve(source: SecretSource) -> Result<(String, Vec<String>), crate::Error> {
    let resolved = source.resolve("password").await?;
    assert!(!format!("{resolved:?} {}", resolved.secret).contains(resolved.secret.reveal()));
    Ok((resolved.secret.reveal().to_owned(), resolved.warnings))
}

#[tokio::test]
async fn files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let write = |bytes: &[u8], mode: u32| {
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        SecretSource::File(path.clone())
    };
    assert_eq!(resolve(write(b"hunter2\n", 0o600)).await.unwrap(), ("hunter2".into(), vec![]));
    assert_eq!(resolve(write(b"hunter2\r\n", 0o600)).await.unwrap().0, "hunter2");
    assert_eq!(resolve(write(b"two\nlines\n\n", 0o640)).await.unwrap(), ("two\nlines\n".into(), vec![]));
    assert!(resolve(write(b"hunter2", 0o644)).await.unwrap().1[0].contains("mode 644"));
    assert!(resolve(write(b"abc", 0o600)).await.unwrap().1[0].contains("too short"));
    for bad in [&b""[..], b"\n", b"a\0b", b"\xff\xfe", &[b'x'; 70_000]] {
        let error = resolve(write(bad, 0o600)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("\"password\"") && error.hint_text().is_some());
    }
    for path in ["/no/such/file", "/etc", "/dev/zero"] {
        assert!(resolve(SecretSource::File(path.into())).await.unwrap_err().message().contains(path));
    }
    let fifo = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    resolve(SecretSource::File(fifo)).await.unwrap_err();
}

#[tokio::test]
async fn variables_and_credentials() {
    let path = std::env::var("PATH").unwrap();
    assert_eq!(resolve(SecretSource::Env("PATH".into())).await.unwrap().0, path);
    let error = resolve(SecretSource::Env("BKHOST_NO_SUCH_VARIABLE".into())).await.unwrap_err();
    assert!(error.message().contains("BKHOST_NO_SUCH_VARIABLE"));
    for name in ["", "../x", "db"] {
        assert!(resolve(SecretSource::Credential(name.into())).await.unwrap_err().hint_text().is_some());
    }
}

#[tokio::test]
async fn commands() {
    let dir = tempfile::tempdir().unwrap();
    let command = |text: &str| {
        let path = script(&dir.path().join("pass"), text);
        SecretSource::Command(vec![path.display().to_string(), "show".into()])
    };
    assert_eq!(resolve(command("echo \"$1 hunter2\"")).await.unwrap().0, "show hunter2");
    for (text, why) in [
        ("echo hunter2; exit 1", "status 1"),
        ("true", "empty"),
        ("kill -9 $$", "status 137"),
        ("head -c 100000 /dev/zero | tr '\\0' x", "64 KiB"),
    ] {
        let error = resolve(command(text)).await.unwrap_err();
        assert!(error.message().contains(why) && !format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    for argv in [vec![], vec!["pass".to_owned()], vec!["/no/such/program".to_owned()]] {
        assert_eq!(resolve(SecretSource::Command(argv)).await.unwrap_err().kind(), ErrorKind::Config);
    }
    // A child that keeps the output open does not hold us.
    let started = Instant::now();
    assert_eq!(resolve(command("echo hunter2; sleep 300 &")).await.unwrap().0, "hunter2");
    assert!(started.elapsed() < Duration::from_secs(8));
}

#[test]
fn written_as_in_the_configuration() {
    #[derive(serde::Deserialize)]
    struct Part {
        a: SecretSource,
    }
    let parse = |text: &str| toml::from_str::<Part>(text).map(|part| part.a);
    assert_eq!(parse("a = { env = \"X\" }").unwrap(), SecretSource::Env("X".into()));
    assert_eq!(parse("a = { command = [\"/bin/p\"] }").unwrap(), SecretSource::Command(vec!["/bin/p".into()]));
    for bad in ["a = \"hunter2\"", "a = { value = \"hunter2\" }", "a = {}", "a = { env = \"X\", file = \"y\" }"] {
        parse(bad).unwrap_err();
    }
}
