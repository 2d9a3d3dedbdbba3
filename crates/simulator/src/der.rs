//! Just enough of DER to take an RSA public key out of a certificate: definite lengths, low tag numbers, no copies.
//!
//! Must not become an X.509 library: nothing here judges names, dates or signatures, because Graph does not either.

/// Tag of an INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// Tag of a BIT STRING.
const BIT_STRING: u8 = 0x03;
/// Tag of an OBJECT IDENTIFIER.
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `rsaEncryption`, 1.2.840.113549.1.1.1.
const RSA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// Tag of a SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;
/// Tag of the version of a certificate.
const EXPLICIT_0: u8 = 0xa0;

/// One element: its tag, its content, and the bytes of both with the length between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// Reads elements one after the other.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next element, or nothing when the bytes end or are no DER.
    pub(crate) fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, after_tag) = self.rest.split_first()?;
        // A tag of all ones goes on in further bytes; no part of a certificate that is read here has one.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, after_first) = after_tag.split_first()?;
        let (length, body) = if first < 0x80 {
            (usize::from(first), after_first)
        } else {
            let count = usize::from(first & 0x7f);
            // 0x80 is the indefinite form, which DER forbids; four bytes are far more than is accepted anyway.
            if count == 0 || count > 4 {
                return None;
            }
            let (digits, body) = after_first.split_at_checked(count)?;
            let length = digits.iter().fold(0_usize, |sum, digit| (sum << 8) | usize::from(*digit));
            if length < 0x80 || digits[0] == 0 {
                return None; // not the shortest form
            }
            (length, body)
        };
        let (content, rest) = body.split_at_checked(length)?;
        let whole = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        Some(Element { tag, content, whole })
    }

    /// The next element if it has this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.next().filter(|element| element.tag == tag)
    }

    /// Whether everything was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// The `SubjectPublicKeyInfo` of an X.509 certificate, as it stands in it.
pub(crate) fn subject_public_key_info(certificate: &[u8]) -> Option<&[u8]> {
    let mut outer = Reader::new(certificate);
    let mut parts = Reader::new(outer.expect(SEQUENCE)?.content);
    if !outer.is_empty() {
        return None;
    }
    let mut to_be_signed = Reader::new(parts.expect(SEQUENCE)?.content);
    parts.expect(SEQUENCE)?; // signature algorithm
    parts.expect(BIT_STRING)?; // signature
    let mut field = to_be_signed.next()?;
    if field.tag == EXPLICIT_0 {
        field = to_be_signed.next()?;
    }
    if field.tag != INTEGER {
        return None; // no serial number: some other structure, a private key for example
    }
    for _signature_issuer_validity_subject in 0..4 {
        to_be_signed.expect(SEQUENCE)?;
    }
    to_be_signed.expect(SEQUENCE).map(|key| key.whole)
}

/// The PKCS #1 `RSAPublicKey` inside a `SubjectPublicKeyInfo`, if that holds an RSA key.
pub(crate) fn rsa_key_of(info: &[u8]) -> Option<&[u8]> {
    let mut parts = Reader::new(Reader::new(info).expect(SEQUENCE)?.content);
    let algorithm = Reader::new(parts.expect(SEQUENCE)?.content).expect(OBJECT_IDENTIFIER)?;
    if algorithm.content != RSA {
        return None;
    }
    // The first byte of a bit string counts the bits that are not used: none, in a key.
    parts.expect(BIT_STRING)?.content.strip_prefix(&[0])
}

/// How long the modulus of a `SubjectPublicKeyInfo` is, if that holds an RSA key.
pub(crate) fn modulus_bits(info: &[u8]) -> Option<usize> {
    let (modulus, _) = rsa_public_key(rsa_key_of(info)?)?;
    let first = modulus.first()?;
    Some(modulus.len() * 8 - usize::try_from(first.leading_zeros()).ok()?)
}

/// Modulus and exponent of a PKCS #1 `RSAPublicKey`, without leading zeros.
pub(crate) fn rsa_public_key(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut numbers = Reader::new(Reader::new(der).expect(SEQUENCE)?.content);
    let modulus = numbers.expect(INTEGER)?.content;
    let exponent = numbers.expect(INTEGER)?.content;
    Some((without_leading_zeros(modulus), without_leading_zeros(exponent)))
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_are_read_in_short_and_long_form_and_only_in_the_shortest() {
        let mut long = vec![SEQUENCE, 0x81, 0x80];
        long.extend([7; 0x80]);
        assert_eq!(Reader::new(&long).next().unwrap().content.len(), 0x80);
        assert!(Reader::new(&[SEQUENCE, 0x81, 0x01, 7]).next().is_none());
        assert!(Reader::new(&[SEQUENCE, 0x80, 0, 0]).next().is_none());
        assert!(Reader::new(&[SEQUENCE, 2, 7]).next().is_none());
    }

    proptest! {
        #[test]
        fn no_input_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            subject_public_key_info(&bytes);
            rsa_public_key(&bytes);
            modulus_bits(&bytes);
        }
    }
}
