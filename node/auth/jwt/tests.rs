//! Tokens of all kinds of keys, and those that must not count.

use super::*;

macro_rules! key {
    ($name:literal) => {
        Some(include_bytes!(concat!("test-keys/", $name)).as_slice())
    };
}

const NOW: i64 = 1_700_000_000;
const TTL: Duration = Duration::from_secs(300);

fn jwt(algorithm: &str, private: Option<&[u8]>, public: Option<&[u8]>) -> Jwt {
    Jwt::new(Signer::load(algorithm, private, public).expect(algorithm), TTL)
}

/// A token with any header and claims, signed by the key of `jwt`.
fn token(jwt: &Jwt, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = jwt.signer.sign(message.as_bytes()).expect("a private key");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn what_a_key_signs_its_public_half_verifies() {
    type Keys = (&'static str, Option<&'static [u8]>, Option<&'static [u8]>);
    let all: [Keys; 15] = [
        ("RS256", key!("rsa.key"), key!("rsa.crt")),
        ("RS384", key!("rsa-pkcs8.key"), key!("rsa.pub")),
        ("RS512", key!("rsa.key"), key!("rsa-pkcs1.pub")),
        ("PS256", key!("rsa.key"), key!("rsa.crt")),
        ("PS384", key!("rsa-pkcs8.key"), key!("rsa.crt")),
        ("PS512", key!("rsa.key"), key!("rsa.pub")),
        ("ES256", key!("p256.key"), key!("p256.crt")),
        ("ES256", key!("p256-alone.key"), key!("p256.crt")),
        ("ES384", key!("p384.key"), key!("p384.pub")),
        ("ES512", key!("p521.key"), key!("p521.pub")),
        ("EdDSA", key!("ed25519.key"), key!("ed25519.pub")),
        ("RS256", key!("rsa.key"), None),
        ("ES256", key!("p256.key"), None),
        ("EdDSA", key!("ed25519.key"), None),
        // Any bytes are a secret.
        ("HS256", key!("rsa.pub"), None),
    ];
    for (algorithm, private, public) in all {
        let both = jwt(algorithm, private, public);
        let token = both.sign("abc", 123, NOW).expect(algorithm);
        assert_eq!(both.verify(&token, NOW), Some(Identity::user("abc", 123)), "{algorithm}");
        if public.is_some() {
            let verifier = jwt(algorithm, None, public);
            assert_eq!(verifier.verify(&token, NOW), Some(Identity::user("abc", 123)), "{algorithm}");
            assert_eq!(verifier.sign("abc", 123, NOW), Err(AuthError::VerifyOnly));
        }
        let (message, signature) = token.rsplit_once('.').expect("three parts");
        let other = both.sign("abd", 123, NOW).expect(algorithm);
        let (other, _) = other.rsplit_once('.').expect("three parts");
        assert_eq!(both.verify(&format!("{other}.{signature}"), NOW), None, "{algorithm}");
        assert_eq!(both.verify(&format!("{message}."), NOW), None, "{algorithm}");
    }
}

#[test]
fn header_and_claims_are_written_as_go_writes_them() {
    let token = jwt("HS256", Some(b"secret"), None).sign("u", 7, NOW).expect("signed");
    let parts: Vec<Vec<u8>> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64")).collect();
    assert_eq!(parts[0], br#"{"alg":"HS256","typ":"JWT"}"#);
    assert_eq!(parts[1], br#"{"exp":1700000300,"revision":7,"username":"u"}"#);
}

#[test]
fn a_token_counts_until_its_end_and_not_before_its_begin() {
    let jwt = jwt("HS256", Some(b"secret"), None);
    let own = jwt.sign("u", 7, NOW).expect("signed");
    assert!(jwt.verify(&own, NOW + 299).is_some() && jwt.verify(&own, NOW + 300).is_none());
    let header = r#"{"alg":"HS256"}"#;
    let with = |times: &str| token(&jwt, header, &format!(r#"{{"username":"u","revision":7{times}}}"#));
    assert!(jwt.verify(&with(""), NOW).is_some(), "for ever");
    assert!(jwt.verify(&with(r#","nbf":1700000001"#), NOW).is_none());
    assert!(jwt.verify(&with(r#","nbf":1700000000"#), NOW).is_some());
}

/// Of etcd's list: 3.5.8 ended by a panic for lack of a name or a revision.
#[test]
fn a_token_without_name_or_revision_is_none() {
    let jwt = jwt("HS256", Some(b"secret"), None);
    let with = |claims: &str| jwt.verify(&token(&jwt, r#"{"alg":"HS256"}"#, claims), NOW);
    for claims in [
        "{}",
        r#"{"username":"u"}"#,
        r#"{"revision":7}"#,
        r#"{"username":7,"revision":7}"#,
        r#"{"username":"u","revision":"7"}"#,
        r#"{"username":"","revision":7}"#,
        // A type that would let it live for ever.
        r#"{"username":"u","revision":7,"exp":"1700000300"}"#,
        "7",
        "",
    ] {
        assert_eq!(with(claims), None, "{claims}");
    }
    assert_eq!(with(r#"{"username":"u","revision":-7}"#), Some(Identity::user("u", 0)));
}

#[test]
fn the_algorithm_is_ours_and_never_that_of_the_token() {
    let rsa = jwt("RS256", key!("rsa.key"), key!("rsa.pub"));
    let claims = r#"{"username":"root","revision":7}"#;
    // Signed by the public key, as if it were a secret.
    let confused = jwt("HS256", key!("rsa.pub"), None);
    for header in [r#"{"alg":"HS256"}"#, r#"{"alg":"RS256"}"#] {
        assert_eq!(rsa.verify(&token(&confused, header, claims), NOW), None, "{header}");
    }
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"rs256"}"#, r#"{"alg":"RS384"}"#, "{}", ""] {
        assert_eq!(rsa.verify(&token(&rsa, header, claims), NOW), None, "{header}");
    }
    let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims));
    for none in [unsigned.as_str(), "", "aaa", "a.b", "a.b.c", "a.b.c.d", "...", "abc.1"] {
        assert_eq!(rsa.verify(none, NOW), None, "{none}");
    }
}

#[test]
fn keys_that_are_missing_or_of_another_kind_are_refused() {
    let load = |algorithm, private, public| Signer::load(algorithm, private, public).map(|_| ()).expect_err(algorithm);
    assert_eq!(load("none", None, None), JwtError::Method);
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA", "HS256"] {
        assert_eq!(load(algorithm, None, None), JwtError::MissingKey, "{algorithm}");
    }
    assert_eq!(load("HS256", None, key!("rsa.pub")), JwtError::MissingKey);
    assert_eq!(load("RS256", key!("rsa.pub"), None), JwtError::PrivateKey("RS256"));
    assert_eq!(load("RS256", None, key!("rsa.key")), JwtError::PublicKey("RS256"));
    assert_eq!(load("ES256", key!("p384.key"), None), JwtError::PrivateKey("ES256"));
    assert_eq!(load("RS256", key!("other.key"), key!("rsa.pub")), JwtError::Mismatch);
    assert_eq!(load("RS256", None, key!("p256.crt")), JwtError::PublicKey("RS256"));
    assert_eq!(load("ES384", None, key!("p256.crt")), JwtError::PublicKey("ES384"));
    assert_eq!(load("EdDSA", Some(b"-----BEGIN PRIVATE KEY-----\nAAAA"), None), JwtError::PrivateKey("EdDSA"));
}
