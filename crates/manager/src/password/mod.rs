//! The owner's password: hashing here, what may not be chosen in [`rules`].

mod rules;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
pub(crate) use rules::{MINIMUM, check};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::{
    error::{Error, random},
    secret::Secret,
};

/// OWASP's first choice for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const OUTPUT: usize = 32;

/// One hash at a time: a burst of sign-ins costs time, not memory.
static TURN: Semaphore = Semaphore::const_new(1);

/// Hashes `password` into a PHC string.
pub(crate) async fn hash(password: Secret<String>) -> Result<String, Error> {
    let salt = random::<16>()?;
    let output = compute(password, salt.to_vec(), MEMORY_KIB, PASSES).await?;
    let (salt, output) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
    Ok(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1${salt}${output}"))
}

/// Whether `password` is the one of `phc`, as [`hash`] made it (with the costs written in it).
pub(crate) async fn verify(password: Secret<String>, phc: &str) -> Result<bool, Error> {
    let unusable = || Error::Password("what is stored is not a hash that this program knows".into());
    let (salt, expected, memory, passes) = parse(phc).ok_or_else(unusable)?;
    let output = compute(password, salt, memory, passes).await?;
    Ok(output.as_slice().ct_eq(&expected).into())
}

fn parse(phc: &str) -> Option<(Vec<u8>, Vec<u8>, u32, u32)> {
    let mut parts = phc.strip_prefix("$argon2id$v=19$")?.split('$');
    let costs = parts.next()?.strip_suffix(",p=1")?;
    let (memory, passes) = costs.strip_prefix("m=")?.split_once(",t=")?;
    let salt = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
    let output = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
    Some((salt, output, memory.parse().ok()?, passes.parse().ok()?)).filter(|_| parts.next().is_none())
}

async fn compute(password: Secret<String>, salt: Vec<u8>, memory: u32, passes: u32) -> Result<[u8; OUTPUT], Error> {
    let _turn = TURN.acquire().await;
    let work = move || -> Result<[u8; OUTPUT], argon2::Error> {
        let params = Params::new(memory, passes, 1, Some(OUTPUT))?;
        let blocks = params.block_count();
        // glibc gives back at once only what it took by mmap, and beyond 32 MiB it always does. The rest of the
        // reservation is never touched and so costs nothing.
        let mut space = Vec::with_capacity(blocks.max(33 * 1024));
        space.resize(blocks, Block::new());
        let mut output = [0; OUTPUT];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into_with_memory(password.expose().as_bytes(), &salt, &mut output, &mut space)?;
        Ok(output)
    };
    let outcome = tokio::task::spawn_blocking(work).await.map_err(|error| Error::Password(error.to_string()))?;
    outcome.map_err(|error| Error::Password(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn the_password_verifies_and_another_does_not() {
        let phc = hash(secret("correct horse battery")).await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(verify(secret("correct horse battery"), &phc).await.unwrap());
        assert!(!verify(secret("correct horse batterY"), &phc).await.unwrap());
        assert_ne!(hash(secret("correct horse battery")).await.unwrap(), phc, "each hash has a salt of its own");
    }

    #[tokio::test]
    async fn a_hash_of_another_program_verifies_too() {
        // From the reference implementation: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32 -e
        let phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(verify(secret("password"), phc).await.unwrap());
    }

    #[tokio::test]
    async fn a_damaged_hash_is_an_error_and_never_a_match() {
        for phc in ["", "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ", "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAA"] {
            assert!(verify(secret("password"), phc).await.is_err(), "{phc}");
        }
    }
}
