//! A client against a service that the test plays.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use bkhost_sdk::testing::{self, Host, Part};
use bkhost_sdk::{Error, ErrorCode};

use super::*;

type Answers = Vec<bkhost_sdk::Result<(u16, String)>>;

struct Service {
    answers: RefCell<Answers>,
    seen: Rc<RefCell<Vec<Request>>>,
}

impl Host for Service {
    fn http(&mut self, request: &Request) -> bkhost_sdk::Result<Response> {
        self.seen.borrow_mut().push(request.clone());
        let mut answers = self.answers.borrow_mut();
        // The last one is given again and again.
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        answer.map(|(status, body)| Response {
            status,
            body: body.into_bytes(),
            headers: Vec::new(),
            planned: status == 202,
        })
    }
}

fn play<T>(answers: Answers, call: impl FnOnce(&Client) -> T) -> (T, Vec<Request>) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = Service { answers: RefCell::new(answers), seen: seen.clone() };
    let client = Client::rds("eu-central-1", None).patience(Duration::from_secs(3));
    let (result, _) = testing::host(Part::default(), service, || call(&client));
    let seen = seen.borrow().clone();
    (result, seen)
}

fn ok(result: &str) -> bkhost_sdk::Result<(u16, String)> {
    Ok((200, format!("<ActResponse xmlns=\"x\"><ActResult>{result}</ActResult></ActResponse>")))
}

fn refused(status: u16, code: &str) -> bkhost_sdk::Result<(u16, String)> {
    let error = format!("<Error><Code>{code}</Code><Message>No</Message></Error>");
    Ok((status, format!("<ErrorResponse>{error}</ErrorResponse>")))
}

fn lost() -> bkhost_sdk::Result<(u16, String)> {
    Err(Error::new(ErrorCode::Unavailable, "it broke off"))
}

#[test]
fn reads_are_gets_and_changes_are_posts() {
    let parameters = Parameters::new().set("Id", "a b");
    let (answer, seen) = play(vec![ok("<Id>x</Id>")], |client| client.read("Act", &parameters));
    assert_eq!(answer.unwrap().text("Id"), "x");
    assert_eq!(seen[0].url, "https://rds.eu-central-1.amazonaws.com/?Action=Act&Version=2014-10-31&Id=a%20b");
    let (answer, seen) = play(vec![ok("<Id>x</Id>")], |client| client.change("Act", &parameters));
    assert_eq!(answer.unwrap().unwrap().text("Id"), "x");
    assert_eq!((seen[0].method, seen[0].url.as_str()), (Method::Post, "https://rds.eu-central-1.amazonaws.com/"));
    assert_eq!(seen[0].body, b"Action=Act&Version=2014-10-31&Id=a%20b");
    let (answer, _) = play(vec![Ok((202, String::new()))], |client| client.change("Act", &parameters));
    assert!(answer.unwrap().is_none());
}

#[test]
fn what_was_throttled_is_repeated_even_if_it_changes_something() {
    let answers = || vec![refused(400, "Throttling"), refused(503, "RequestLimitExceeded"), ok("")];
    for change in [Client::change, Client::change_again] {
        let (answer, seen) = play(answers(), |client| change(client, "Act", &Parameters::new()));
        assert!(answer.is_ok() && seen.len() == 3, "{answer:?}");
    }
}

#[test]
fn a_change_whose_outcome_nobody_knows_is_not_repeated() {
    for broken in
        [lost(), refused(500, "InternalFailure"), Ok((502, "<html>".to_owned())), Ok((200, "<html>".to_owned()))]
    {
        let answers = || vec![broken.clone(), ok("")];
        let (answer, seen) = play(answers(), |client| client.change("Act", &Parameters::new()));
        assert!(answer.unwrap_err().is_uncertain() && seen.len() == 1);
        let (answer, seen) = play(answers(), |client| client.change_again("Act", &Parameters::new()));
        assert!(answer.is_ok() && seen.len() == 2);
        let (answer, seen) = play(answers(), |client| client.read("Act", &Parameters::new()));
        assert!(answer.is_ok() && seen.len() == 2);
    }
}

#[test]
fn what_is_refused_for_good_is_not_repeated() {
    for code in ["AccessDenied", "DBSnapshotNotFound", "InvalidParameterValue", "SomethingNew"] {
        let (answer, seen) = play(vec![refused(400, code)], |client| client.read("Act", &Parameters::new()));
        assert_eq!((answer.unwrap_err().code(), seen.len()), (code, 1));
    }
    let cancelled = || vec![Err(Error::new(ErrorCode::Interrupted, "cancelled"))];
    let (answer, seen) = play(cancelled(), |client| client.read("Act", &Parameters::new()));
    assert!(answer.unwrap_err().is_interrupted() && seen.len() == 1);
}

#[test]
fn patience_ends() {
    let start = Instant::now();
    let (answer, seen) = play(vec![refused(400, "Throttling")], |client| client.read("Act", &Parameters::new()));
    let error = Error::from(answer.unwrap_err());
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.message.contains("attempts"), "{}", error.message);
    assert!(seen.len() >= 3 && start.elapsed() < Duration::from_secs(4));
}

#[test]
fn expired_credentials_are_tried_again_a_few_times() {
    let (answer, seen) =
        play(vec![refused(403, "ExpiredToken"), ok("")], |client| client.read("Act", &Parameters::new()));
    assert!(answer.is_ok() && seen.len() == 2);
    let (answer, seen) = play(vec![refused(403, "ExpiredToken")], |client| client.read("Act", &Parameters::new()));
    assert!(answer.unwrap_err().is_denied() && seen.len() == 4);
}

#[test]
fn lists_are_read_to_their_end() {
    let pages = vec![
        ok("<List><I>1</I><I>2</I></List><Marker>a+/=</Marker>"),
        refused(400, "Throttling"),
        ok("<Marker>b</Marker><List/>"),
        ok("<List><I>3</I></List>"),
    ];
    let (answer, seen) = play(pages, |client| client.list("Act", &Parameters::new(), "List"));
    assert_eq!(answer.unwrap().len(), 3);
    assert!(seen[1].url.ends_with("&Marker=a%2B%2F%3D") && seen[3].url.ends_with("&Marker=b"), "{seen:?}");
    let endless = vec![ok("<List/><Marker>a</Marker>")];
    let (answer, _) = play(endless, |client| client.list("Act", &Parameters::new(), "List"));
    assert_eq!(Error::from(answer.unwrap_err()).code, ErrorCode::Corrupt);
}

#[test]
fn endpoints() {
    assert_eq!(Client::ec2("cn-north-1", None).endpoint(), "https://ec2.cn-north-1.amazonaws.com.cn");
    assert_eq!(Client::ec2("eu-west-1", Some("http://127.0.0.1:1/")).endpoint(), "http://127.0.0.1:1");
}
