//! Answers of the query protocol.

use roxmltree::{Document, Node};

use super::http::Message;
use super::states::edit;

/// An element's child of this name.
pub(super) fn child<'a, 'input>(node: &Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.is_element() && child.tag_name().name() == name)
}

/// The texts of all elements of this name.
pub(super) fn texts(xml: &str, name: &str) -> Vec<String> {
    let document = Document::parse(xml).unwrap_or_else(|e| panic!("{e}: {xml}"));
    document
        .descendants()
        .filter(|node| node.is_element() && node.tag_name().name() == name)
        .map(|node| node.text().unwrap_or_default().to_owned())
        .collect()
}

/// The text of the first element of this name.
pub(super) fn text(xml: &str, name: &str) -> Option<String> {
    texts(xml, name).into_iter().next()
}

/// An error, in the form of the service.
pub(super) fn error(service: &str, status: u16, code: &str, message: &str) -> Message {
    let id = "00000000-0000-4000-8000-000000000000";
    let body = if service == "ec2" {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code><Message>{message}\
             </Message></Error></Errors><RequestID>{id}</RequestID></Response>"
        )
    } else {
        format!(
            "<ErrorResponse xmlns=\"http://{service}.amazonaws.com/doc/2014-10-31/\"><Error><Type>Sender</Type>\
             <Code>{code}</Code><Message>{message}</Message></Error><RequestId>{id}</RequestId></ErrorResponse>"
        )
    };
    Message::response(status, "text/xml", &body)
}

/// What a broken proxy says.
pub(super) fn html(status: u16) -> Message {
    let body = "<!DOCTYPE html>\n<html><head><title>Bad gateway</title><body bgcolor=white>\n<h1>The server is \
                <br>not there</h1><hr>&nbsp;nginx/1.22</body></html>\n";
    Message::response(status, "text/html; charset=utf-8", body)
}

/// The items `from..from + size` of a list, and the token of the page after them.
pub(super) fn page(service: &str, answer: &str, from: usize, size: usize) -> String {
    let document = Document::parse(answer).unwrap_or_else(|e| panic!("{e}: {answer}"));
    // EC2: <…Response><requestId/><snapshotSet><item/>…; others: <…Response><…Result><DBSnapshots><DBSnapshot/>…
    let root = document.root_element();
    let (holder, token) = if service == "ec2" {
        (Some(root), "nextToken")
    } else {
        (root.children().find(|child| child.tag_name().name().ends_with("Result")), "Marker")
    };
    let list = holder.and_then(|holder| {
        holder.children().find(|child| child.is_element() && child.children().any(|item| item.is_element()))
    });
    let Some(list) = list else { return answer.to_owned() };
    let items: Vec<_> = list.children().filter(Node::is_element).collect();
    let out = items.iter().enumerate().filter(|(n, _)| !(from..from + size).contains(n));
    let mut edits: Vec<_> = out.map(|(_, item)| (item.range(), String::new())).collect();
    if from + size < items.len() {
        let end = list.range().end;
        edits.push((end..end, format!("<{token}>{}{}</{token}>", super::proxy::PAGE, from + size)));
    }
    edit(answer, edits)
}
