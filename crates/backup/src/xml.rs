//! The two XML answers that are read: WebDAV's multistatus, and S3's lists and errors.

use roxmltree::{Document, Node, ParsingOptions};

/// Why an answer could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadXml {
    #[error("its list is no XML")]
    Syntax,
    #[error("its XML is not the expected {0}")]
    Other(&'static str),
}

/// Without DTD, hence without entities that grow.
fn parse(bytes: &[u8]) -> Result<Document<'_>, BadXml> {
    let text = std::str::from_utf8(bytes).map_err(|_| BadXml::Syntax)?;
    let options = ParsingOptions { allow_dtd: false, nodes_limit: 2_000_000, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|_| BadXml::Syntax)
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.is_element() && child.tag_name().name() == name)
}

fn text(node: Node<'_, '_>, name: &str) -> Option<String> {
    child(node, name).and_then(|child| child.text()).map(str::to_owned)
}

fn all<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.is_element() && child.tag_name().name() == name)
}

/// The last parts of the paths of all members in a WebDAV answer that are no folders, decoded.
pub(crate) fn multistatus(bytes: &[u8]) -> Result<Vec<String>, BadXml> {
    let document = parse(bytes)?;
    let root = document.root_element();
    if root.tag_name().namespace() != Some("DAV:") || root.tag_name().name() != "multistatus" {
        return Err(BadXml::Other("multistatus of WebDAV"));
    }
    let is_folder = |node: Node<'_, '_>| node.descendants().any(|node| node.has_tag_name(("DAV:", "collection")));
    let members = all(root, "response").filter(|response| !is_folder(*response));
    Ok(members.filter_map(|response| file_name(&text(response, "href")?)).collect())
}

/// The last part of a path or URL, decoded; nothing for a folder or for bytes that are no UTF-8.
fn file_name(href: &str) -> Option<String> {
    let last = href.trim().rsplit('/').next()?;
    let mut bytes = Vec::with_capacity(last.len());
    let mut rest = last.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' { hex(rest.next()?)? << 4 | hex(rest.next()?)? } else { byte });
    }
    String::from_utf8(bytes).ok().filter(|name| !name.is_empty() && !name.contains('/'))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// A page of a list of S3.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) keys: Vec<String>,
    /// Where the next page begins.
    pub(crate) next: Option<String>,
}

pub(crate) fn page(bytes: &[u8]) -> Result<Page, BadXml> {
    let document = parse(bytes)?;
    let root = document.root_element();
    if root.tag_name().name() != "ListBucketResult" {
        return Err(BadXml::Other("list of a bucket"));
    }
    let keys = all(root, "Contents").filter_map(|content| text(content, "Key")).collect();
    let more = text(root, "IsTruncated").is_some_and(|value| value.trim() == "true");
    let next = text(root, "NextContinuationToken").filter(|token| more && !token.is_empty());
    if more && next.is_none() {
        return Err(BadXml::Other("list of a bucket: it says there is more, but not where"));
    }
    Ok(Page { keys, next })
}

/// An error of S3.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct S3Error {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) region: Option<String>,
}

/// What is no XML error gives an empty one.
pub(crate) fn s3_error(bytes: &[u8]) -> S3Error {
    let Ok(document) = parse(bytes) else { return S3Error::default() };
    let root = document.root_element();
    let short = |name| -> String {
        let text = text(root, name).unwrap_or_default();
        text.chars().filter(|letter| !letter.is_control()).take(200).collect()
    };
    let region = Some(short("Region")).filter(|region| !region.is_empty());
    S3Error { code: short("Code"), message: short("Message"), region }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_of_a_webdav_folder_are_its_files() {
        // Apache's spelling, with a prefix of its own and absolute paths; Nextcloud's are URLs at times.
        let answer = br#"<?xml version="1.0" encoding="utf-8"?>
            <D:multistatus xmlns:D="DAV:" xmlns:ns0="DAV:">
            <D:response><D:href>/dav/scb/</D:href><D:propstat><D:prop><lp1:resourcetype xmlns:lp1="DAV:"><D:collection/>
            </lp1:resourcetype></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
            <D:response><D:href>/dav/scb/a%20b%c3%a9.bin</D:href><D:propstat><D:prop><lp1:resourcetype xmlns:lp1="DAV:"/>
            </D:prop></D:propstat></D:response>
            <D:response><D:href>https://nas/dav/scb/sub</D:href><D:propstat><D:prop><D:resourcetype><D:collection/>
            </D:resourcetype></D:prop></D:propstat></D:response>
            <D:response><D:href>https://nas/dav/scb/c.bin</D:href></D:response>
            <D:response><D:href>/dav/scb/%zz</D:href></D:response>
            </D:multistatus>"#;
        assert_eq!(multistatus(answer).unwrap(), ["a b\u{e9}.bin", "c.bin"]);
        assert_eq!(multistatus(b"<html/>"), Err(BadXml::Other("multistatus of WebDAV")));
    }

    #[test]
    fn a_list_of_s3_goes_on_where_it_says() {
        let answer =
            br#"<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>true</IsTruncated>
            <Contents><Key>scb/a&amp;b.bin</Key><Size>3</Size></Contents><Contents><Key>scb/c</Key></Contents>
            <NextContinuationToken>1/x==</NextContinuationToken></ListBucketResult>"#;
        let expected = Page { keys: vec!["scb/a&b.bin".into(), "scb/c".into()], next: Some("1/x==".into()) };
        assert_eq!(page(answer), Ok(expected));
        let endless = b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>";
        assert!(page(endless).is_err());
    }

    #[test]
    fn an_error_of_s3_has_its_code_and_the_right_region() {
        let answer =
            b"<Error><Code>AuthorizationHeaderMalformed</Code><Message>wrong</Message><Region>eu-1</Region></Error>";
        let expected = S3Error {
            code: "AuthorizationHeaderMalformed".into(),
            message: "wrong".into(),
            region: Some("eu-1".into()),
        };
        assert_eq!(s3_error(answer), expected);
        assert_eq!(s3_error(b"<html>Bad gateway"), S3Error::default());
    }

    #[test]
    fn entities_that_grow_are_refused() {
        let bomb =
            br#"<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;">]><ListBucketResult>&c;</ListBucketResult>"#;
        assert_eq!(page(bomb), Err(BadXml::Syntax));
    }

    fn escaped(name: &str) -> String {
        name.bytes().map(|byte| format!("%{byte:02X}")).collect()
    }

    proptest! {
        #[test]
        fn every_file_name_comes_back(name in "[^/\u{0}]{1,30}") {
            let answer = format!(
                "<d:multistatus xmlns:d='DAV:'><d:response><d:href>/a/{}</d:href></d:response></d:multistatus>",
                escaped(&name)
            );
            prop_assert_eq!(multistatus(answer.as_bytes()), Ok(vec![name]));
        }

        #[test]
        fn foreign_bytes_break_nothing(bytes: Vec<u8>, text in "(<[a-zA-Z:/ ='\"]{0,12}>|&[a-z#0-9]{0,4};|[a-z%]){0,30}") {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                let _ = (multistatus(bytes), page(bytes), s3_error(bytes));
            }
        }
    }
}
