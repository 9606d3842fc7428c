//! CBOR (RFC 8949) as the signed statements use it.

/// Encodes and decodes a newtype over `[u8; SIZE]` as a byte string of exactly that size.
macro_rules! byte_string {
    ($name:ident, $size:literal) => {
        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
                let bytes: minicbor::bytes::ByteArray<$size> = minicbor::Decode::decode(d, ctx)?;
                Ok(Self(bytes.into()))
            }
        }
    };
}

pub(crate) use byte_string;
