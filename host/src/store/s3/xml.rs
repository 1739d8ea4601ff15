//! What a server says in XML.

use std::fmt::Write;

use roxmltree::{Document, Node};

/// A page of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Keys and sizes.
    pub(super) objects: Vec<(String, u64)>,
    /// Common prefixes, each with a `/` at its end.
    pub(super) prefixes: Vec<String>,
    /// What to ask for the next page with.
    pub(super) next: Option<String>,
}

/// A page of a listing of uploads: keys and ids.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Uploads {
    pub(super) uploads: Vec<(String, String)>,
    /// The markers of key and id to ask for the next page with.
    pub(super) next: Option<(String, String)>,
}

/// Whether this is a whole document with this root.
pub(super) fn is(text: &str, root: &str) -> bool {
    Document::parse(text).is_ok_and(|document| document.root_element().tag_name().name() == root)
}

/// The answer to a listing; none if it is no such answer.
pub(super) fn listing(text: &str) -> Option<Listing> {
    let document = Document::parse(text).ok()?;
    let root = document.root_element();
    if root.tag_name().name() != "ListBucketResult" {
        return None;
    }
    let decode = decoder(root);
    let mut listing = Listing::default();
    for node in root.children() {
        match node.tag_name().name() {
            "Contents" => {
                listing.objects.push((decode(&child(node, "Key")?)?, child(node, "Size")?.trim().parse().ok()?));
            }
            "CommonPrefixes" => listing.prefixes.push(decode(&child(node, "Prefix")?)?),
            _ => {}
        }
    }
    if child(root, "IsTruncated").as_deref().map(str::trim) == Some("true") {
        listing.next = Some(child(root, "NextContinuationToken")?);
    }
    Some(listing)
}

/// The answer to a listing of uploads; none if it is no such answer.
pub(super) fn uploads(text: &str) -> Option<Uploads> {
    let document = Document::parse(text).ok()?;
    let root = document.root_element();
    if root.tag_name().name() != "ListMultipartUploadsResult" {
        return None;
    }
    let decode = decoder(root);
    let mut all = Uploads::default();
    for node in root.children().filter(|node| node.tag_name().name() == "Upload") {
        all.uploads.push((decode(&child(node, "Key")?)?, child(node, "UploadId")?));
    }
    if child(root, "IsTruncated").as_deref().map(str::trim) == Some("true") {
        all.next =
            Some((decode(&child(root, "NextKeyMarker")?)?, child(root, "NextUploadIdMarker").unwrap_or_default()));
    }
    Some(all)
}

/// The id of an upload that was begun.
pub(super) fn upload_id(text: &str) -> Option<String> {
    let document = Document::parse(text).ok()?;
    let root = document.root_element();
    (root.tag_name().name() == "InitiateMultipartUploadResult").then(|| child(root, "UploadId"))?
}

/// Whether this says that an upload was completed. A failure may come with a status that says otherwise.
pub(super) fn completed(text: &str) -> bool {
    is(text, "CompleteMultipartUploadResult")
}

/// The code and the message of a failure.
pub(super) fn failure(text: &str) -> Option<(String, String)> {
    let document = Document::parse(text).ok()?;
    let root = document.root_element();
    let error = if root.tag_name().name() == "Error" {
        root
    } else {
        root.children().find(|node| node.tag_name().name() == "Error")?
    };
    Some((child(error, "Code")?, child(error, "Message").unwrap_or_default()))
}

/// What completes an upload of these parts: their numbers and tags.
pub(super) fn complete(parts: &[(u32, String)]) -> String {
    let mut text = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
    for (number, tag) in parts {
        let tag = tag.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        let _ = write!(text, "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>");
    }
    text.push_str("</CompleteMultipartUpload>");
    text
}

fn child(node: Node<'_, '_>, name: &str) -> Option<String> {
    let child = node.children().find(|child| child.tag_name().name() == name)?;
    Some(child.text().unwrap_or_default().to_owned())
}

/// How keys are written in an answer: encoded if it says so.
fn decoder(root: Node<'_, '_>) -> fn(&str) -> Option<String> {
    if child(root, "EncodingType").as_deref() == Some("url") { decode } else { |text| Some(text.to_owned()) }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit =
                    |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(rest.next())?.checked_mul(16)?.checked_add(digit(rest.next())?)?
            }
            byte => byte,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><IsTruncated>true</IsTruncated>
            <EncodingType>url</EncodingType><Contents><Key>p/a+b%2Bc%0A</Key><Size>12</Size></Contents>
            <CommonPrefixes><Prefix>p/d/</Prefix></CommonPrefixes>
            <NextContinuationToken>t&amp;=</NextContinuationToken></ListBucketResult>"#;
        let listed = listing(text).unwrap();
        assert_eq!(listed.objects, [("p/a b+c\n".to_owned(), 12)]);
        assert_eq!((listed.prefixes, listed.next), (vec!["p/d/".to_owned()], Some("t&=".to_owned())));
        assert_eq!(listing("<ListBucketResult/>").unwrap(), Listing::default());
        // Half an answer is none: what is not listed would be taken for missing.
        let cut = text.split_at(text.len() / 2).0;
        for bad in [
            "",
            "{}",
            "<html><body>Sign in</body></html>",
            cut,
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        ] {
            assert_eq!(listing(bad), None, "{bad}");
        }
    }

    #[test]
    fn uploads_and_failures() {
        let text = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>
            <Upload><Key>k</Key><UploadId>1</UploadId></Upload></ListMultipartUploadsResult>";
        assert_eq!(uploads(text).unwrap().uploads, [("k".to_owned(), "1".to_owned())]);
        let id = "<InitiateMultipartUploadResult><UploadId>x</UploadId></InitiateMultipartUploadResult>";
        assert_eq!(upload_id(id).as_deref(), Some("x"));
        assert!(completed("<CompleteMultipartUploadResult/>"));
        let failed = "<Error><Code>InternalError</Code><Message>m</Message></Error>";
        assert!(!completed(failed) && !completed(""));
        assert_eq!(failure(failed), Some(("InternalError".to_owned(), "m".to_owned())));
        assert_eq!(complete(&[(1, "\"a\"".to_owned())]).matches("&quot;a&quot;").count(), 1);
    }
}
