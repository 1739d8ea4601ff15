use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::report::{Event, Sink};

/// What arrived: `POST /path body`.
type Heard = Arc<Mutex<Vec<String>>>;

async fn server(status: StatusCode) -> (String, Heard) {
    let heard = Heard::default();
    let to = Arc::clone(&heard);
    let app = Router::new().fallback(move |request: Request| {
        let to = Arc::clone(&to);
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            to.lock().unwrap().push(format!("{line} {}", String::from_utf8_lossy(&body)));
            status
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, heard)
}

/// A mail server of a few lines, which keeps what it is sent.
async fn mail_server() -> (String, Heard) {
    let heard = Heard::default();
    let to = Arc::clone(&heard);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("smtp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            write.write_all(b"220 here\r\n").await.unwrap();
            let mut data = false;
            while let Ok(Some(line)) = lines.next_line().await {
                to.lock().unwrap().push(line.clone());
                data = if data { line != "." } else { line == "DATA" };
                let reply: &[u8] = match line.split(' ').next().unwrap_or_default() {
                    "DATA" => b"354 go on\r\n",
                    _ if data => continue,
                    _ => b"250 ok\r\n",
                };
                if write.write_all(reply).await.is_err() {
                    break;
                }
            }
        }
    });
    (address, heard)
}

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Sink for Told {
    fn event(&mut self, event: &Event) {
        if let Event::Message { text, .. } = event {
            self.0.lock().unwrap().push(text.clone());
        }
    }
}

fn channel(toml: &str) -> Notify {
    toml::from_str(toml).unwrap()
}

async fn send(channels: &[Notify], notification: &Notification) -> Vec<String> {
    let told = Told::default();
    let reporter = Reporter::new(vec![Box::new(told.clone())]);
    Channels::resolve(channels).await.unwrap().send(notification, &reporter).await;
    told.0.lock().unwrap().clone()
}

fn failed() -> Notification {
    Notification::failure("wiki", &Error::new(crate::ErrorKind::Store, "the store is full").hint("make room"))
}

#[tokio::test]
async fn a_webhook_is_sent_json() {
    let (url, heard) = server(StatusCode::OK).await;
    let hook = channel(&format!("type = \"webhook\"\nurl = \"{url}/hook?key=1\""));
    assert_eq!(send(&[hook], &failed()).await, [""; 0]);
    let heard = heard.lock().unwrap();
    let (line, body) = heard[0].split_once(" {").unwrap();
    assert_eq!(line, "POST /hook?key=1");
    let body: serde_json::Value = serde_json::from_str(&format!("{{{body}")).unwrap();
    assert_eq!(body["occasion"], "failure");
    assert_eq!(body["instance"], "wiki");
    assert_eq!(body["text"], "the store is full\nhint: make room");
}

#[tokio::test]
async fn a_switch_is_pinged_after_a_success_and_otherwise_as_it_is_told() {
    let (url, heard) = server(StatusCode::OK).await;
    let plain = channel(&format!("type = \"ping\"\nurl = \"{url}/a\""));
    let all = channel(&format!("type = \"ping\"\nurl = \"{url}/b/\"\non = [\"start\", \"success\", \"failure\"]"));
    for occasion in [Occasion::Start, Occasion::Success, Occasion::Failure, Occasion::Locked] {
        send(&[plain.clone(), all.clone()], &Notification::new(occasion, "wiki", "s", "t")).await;
    }
    let mut heard = heard.lock().unwrap().clone();
    heard.sort();
    assert_eq!(heard, ["POST /a s", "POST /b s", "POST /b/fail s", "POST /b/fail s", "POST /b/start s"]);
}

#[tokio::test]
async fn a_mail_arrives() {
    let (server, heard) = mail_server().await;
    let mail = format!(
        "type = \"mail\"\nserver = \"{server}\"\nfrom = \"Backups <b@h.example>\"\nto = [\"a@h.example\", \"c@h.example\"]"
    );
    assert_eq!(send(&[channel(&mail)], &failed()).await, [""; 0]);
    let heard = heard.lock().unwrap().join("\n");
    for text in [
        "RCPT TO:<a@h.example>",
        "RCPT TO:<c@h.example>",
        "Subject: bkhost: the backup of wiki FAILED",
        "the store is full",
        "instance: wiki",
    ] {
        assert!(heard.contains(text), "{text} is not in\n{heard}");
    }
}

#[tokio::test]
async fn a_command_gets_it_on_stdin_and_in_its_environment() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let script =
        format!("cat > '{0}'; echo \"$BKHOST_OCCASION $BKHOST_INSTANCE: $BKHOST_SUBJECT\" >> '{0}'", out.display());
    let command = Notify::Command(crate::config::NotifyCommand {
        name: None,
        on: vec![Occasion::Failure],
        command: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec(),
    });
    assert_eq!(send(&[command], &failed()).await, [""; 0]);
    let text = std::fs::read_to_string(out).unwrap();
    assert!(text.contains("\"text\":\"the store is full"), "{text}");
    assert!(text.ends_with("failure wiki: bkhost: the backup of wiki FAILED\n"), "{text}");
}

/// One that fails does not keep the others from being told, and no address is shown: it may hold a key.
#[tokio::test]
async fn a_channel_that_fails_is_told_without_its_address() {
    let (bad, _) = server(StatusCode::INTERNAL_SERVER_ERROR).await;
    let (good, heard) = server(StatusCode::OK).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let told = send(
        &[
            channel(&format!("type = \"webhook\"\nname = \"one\"\nurl = \"{bad}/SECRET\"")),
            channel(&format!("type = \"webhook\"\nname = \"two\"\nurl = \"http://{nobody}/SECRET\"")),
            channel("type = \"command\"\ncommand = [\"/bin/false\"]"),
            channel(&format!("type = \"webhook\"\nname = \"three\"\nurl = \"{good}\"")),
        ],
        &failed(),
    )
    .await;
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().any(|text| text.contains("`one` failed: the server answered 500")), "{told:?}");
    assert!(told.iter().any(|text| text.contains("`two` failed")), "{told:?}");
    assert!(told.iter().any(|text| text.contains("/bin/false ended with status 1")), "{told:?}");
    assert!(!told.concat().contains("SECRET"), "{told:?}");
    assert_eq!(heard.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_channel_that_cannot_work_is_refused_at_once() {
    for (toml, text) in [
        ("type = \"webhook\"\nurl = \"hooks.example.org/SECRET\"", "no address"),
        ("type = \"webhook\"\nurl = \"ftp://hooks.example.org/SECRET\"", "http://"),
        ("type = \"ping\"\nurl-from = { file = \"/nonexistent\" }", "/nonexistent"),
        ("type = \"mail\"\nfrom = \"nobody\"\nto = [\"a@b.c\"]", "`nobody` is no mail address"),
        ("type = \"mail\"\nfrom = \"a@b.c\"\nto = [\"a@b.c\"]\nserver = \"imap://x\"", "`imap://x` is no mail server"),
    ] {
        let error = Channels::resolve(&[channel(toml)]).await.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(text), "{error}");
        assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
    }
}

#[tokio::test]
async fn shouting_begins_late_goes_on_and_ends_with_good_news() {
    let (url, heard) = server(StatusCode::OK).await;
    let channels = Channels::resolve(&[channel(&format!("type = \"webhook\"\nurl = \"{url}\""))]).await.unwrap();
    let reporter = Reporter::silent();
    let quick = while_waiting(&channels, &reporter, "wiki", Duration::from_secs(10), async { Ok::<_, ()>(1) }).await;
    assert_eq!(quick, Ok(1));
    assert!(heard.lock().unwrap().is_empty());
    let pauses = std::iter::repeat(Duration::from_millis(1));
    let shouting = Shouting::with_pauses(&channels, locked("wiki"), &reporter, pauses);
    while heard.lock().unwrap().len() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    shouting.freed().await;
    let heard = heard.lock().unwrap();
    assert!(heard[0].contains("IS STILL LOCKED"), "{heard:?}");
    assert!(heard.last().unwrap().contains("no longer locked"), "{heard:?}");
}
