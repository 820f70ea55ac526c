//! The envelope of a JSON-RPC answer.

use serde::Deserialize;
use serde_json::Value;

/// bitcoind's code while it loads its data (`RPC_IN_WARMUP`).
pub(super) const WARMING_UP: i64 = -28;

/// Why there is no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server's own error.
    Refused { code: i64, message: String },
    /// No JSON-RPC answer at all.
    NotJsonRpc,
    /// One, and a wrong one.
    Other(&'static str),
}

#[derive(Deserialize)]
struct Envelope {
    // An answer has at least one of the two, which may be null.
    #[serde(default, deserialize_with = "present")]
    result: Option<Value>,
    #[serde(default)]
    error: Option<Refusal>,
    #[serde(default)]
    id: Value,
}

#[derive(Deserialize)]
struct Refusal {
    code: i64,
    #[serde(default)]
    message: String,
}

/// Tells a null that is there from a field that is not.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// The result in `body`, which must be the answer to the request `id`.
pub(super) fn parse(body: &[u8], id: u64) -> Result<Value, Fault> {
    let envelope: Envelope = serde_json::from_slice(body).map_err(|_| Fault::NotJsonRpc)?;
    match (envelope.result, envelope.error) {
        (_, Some(error)) => Err(Fault::Refused { code: error.code, message: error.message }),
        (Some(_), None) if envelope.id != id => Err(Fault::Other("it is the answer to another request")),
        (Some(result), None) => Ok(result),
        (None, None) => Err(Fault::NotJsonRpc),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn results_refusals_and_strangers_are_told_apart() {
        let parse = |text: &str| parse(text.as_bytes(), 7);
        assert_eq!(parse(r#"{"result":{"a":1},"error":null,"id":7}"#), Ok(json!({"a": 1})));
        assert_eq!(parse(r#"{"jsonrpc":"2.0","result":null,"id":7}"#), Ok(Value::Null));
        let refused = Fault::Refused { code: WARMING_UP, message: "Loading block index…".into() };
        let text = r#"{"result":null,"error":{"code":-28,"message":"Loading block index…"},"id":7}"#;
        assert_eq!(parse(text), Err(refused));
        assert!(matches!(parse(r#"{"result":1,"id":8}"#), Err(Fault::Other(_))));
        for stranger in ["", "<html>", "{}", "[]", "null", r#"{"id":7}"#, r#"{"error":"no","id":7}"#] {
            assert_eq!(parse(stranger), Err(Fault::NotJsonRpc), "{stranger:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_fall_over(bytes: Vec<u8>, id: u64) {
            let _ = parse(&bytes, id);
        }

        #[test]
        fn no_json_makes_the_parser_fall_over(
            text in r#"\{("(result|error|id|code|message)":(null|-?[0-9]{1,22}|"[a-z]{0,3}"|\{\}|\[\]),?){0,4}\}"#,
        ) {
            let _ = parse(text.as_bytes(), 7);
        }
    }
}
