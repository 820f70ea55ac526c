//! Forms with a file in them, read whole into memory within a limit.

use std::collections::BTreeMap;

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
    http::{StatusCode, header},
};
use futures_util::stream;

use super::fail::Fail;

/// Room for what stands around the file and for the other fields.
const AROUND: usize = 32 * 1024;

/// The fields of a form, of which one may be a file of at most `LIMIT` bytes.
pub(crate) struct Upload<const LIMIT: usize> {
    fields: BTreeMap<String, Vec<u8>>,
}

impl<const LIMIT: usize> Upload<LIMIT> {
    /// The field `file`, if one was chosen.
    pub(crate) fn file(&self) -> Option<&[u8]> {
        self.fields.get("file").map(Vec::as_slice).filter(|bytes| !bytes.is_empty())
    }

    /// A field as text; empty when it is not there or is none.
    pub(crate) fn text(&self, name: &str) -> String {
        let bytes = self.fields.get(name).cloned().unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    }
}

impl<S: Send + Sync, const LIMIT: usize> FromRequest<S> for Upload<LIMIT> {
    type Rejection = Fail;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Fail> {
        let broken = || Fail::Form(StatusCode::BAD_REQUEST);
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let boundary = kind.and_then(|kind| multer::parse_boundary(kind).ok()).ok_or_else(broken)?;
        let large = |_| Fail::Form(StatusCode::PAYLOAD_TOO_LARGE);
        let body = to_bytes(request.into_body(), LIMIT + AROUND).await.map_err(large)?;
        let chunks = stream::iter([Ok::<_, std::convert::Infallible>(body)]);
        let mut form = multer::Multipart::new(chunks, boundary);
        let mut fields = BTreeMap::new();
        while let Some(field) = form.next_field().await.map_err(|_| broken())? {
            let name = field.name().map(str::to_owned);
            let bytes = field.bytes().await.map_err(|_| broken())?;
            if let Some(name) = name {
                fields.insert(name, bytes.to_vec());
            }
        }
        Ok(Self { fields })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn form(file: &[u8]) -> Request {
        let mut body = b"--X\r\nContent-Disposition: form-data; name=\"words\"\r\n\r\nabandon ability\r\n".to_vec();
        body.extend(
            b"--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"channel.backup\"\r\n\
                      Content-Type: application/octet-stream\r\n\r\n",
        );
        body.extend(file);
        body.extend(b"\r\n--X--\r\n");
        let kind = "multipart/form-data; boundary=X";
        Request::builder().header(header::CONTENT_TYPE, kind).body(Body::from(body)).unwrap()
    }

    #[tokio::test]
    async fn a_file_arrives_byte_for_byte_beside_the_other_fields() {
        let bytes: Vec<u8> = (0..=255).cycle().take(5_000).collect();
        let upload = Upload::<10_000>::from_request(form(&bytes), &()).await.unwrap();
        assert_eq!(upload.file(), Some(bytes.as_slice()));
        assert_eq!(upload.text("words"), "abandon ability");
        assert_eq!(upload.text("none"), "");
    }

    #[tokio::test]
    async fn a_file_that_was_not_chosen_is_none_and_a_large_one_is_refused() {
        assert_eq!(Upload::<10>::from_request(form(b""), &()).await.unwrap().file(), None);
        let large = Upload::<10>::from_request(form(&vec![7; AROUND + 100]), &()).await;
        assert!(matches!(large, Err(Fail::Form(StatusCode::PAYLOAD_TOO_LARGE))));
    }

    #[tokio::test]
    async fn what_is_no_such_form_is_told_and_breaks_nothing() {
        let plain = Request::builder().body(Body::from("words=x")).unwrap();
        assert!(matches!(Upload::<10>::from_request(plain, &()).await, Err(Fail::Form(_))));
        for cut in 0..220 {
            let (parts, body) = form(b"abc").into_parts();
            let bytes = to_bytes(body, 1000).await.unwrap();
            let part = Request::from_parts(parts, Body::from(bytes.slice(..cut.min(bytes.len()))));
            // Some cuts leave a form that is whole; none may be taken for another one.
            let _ = Upload::<1000>::from_request(part, &()).await;
        }
    }
}
