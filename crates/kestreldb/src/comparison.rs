//! Comparing what holds bytes with bytes and text in their usual shapes.

/// Implements `PartialEq` of a type that derefs to `[u8]` with everything one writes in a comparison.
macro_rules! compare_as_bytes {
    ($own:ty) => {
        compare_as_bytes!($own: [u8], &[u8], Vec<u8>, bytes::Bytes, str, &str, String);

        impl<const N: usize> PartialEq<[u8; N]> for $own {
            fn eq(&self, other: &[u8; N]) -> bool {
                **self == *other
            }
        }

        impl<const N: usize> PartialEq<&[u8; N]> for $own {
            fn eq(&self, other: &&[u8; N]) -> bool {
                **self == **other
            }
        }
    };
    ($own:ty: $($other:ty),*) => {
        $(impl PartialEq<$other> for $own {
            fn eq(&self, other: &$other) -> bool {
                let other: &[u8] = other.as_ref();
                **self == *other
            }
        })*
    };
}

pub(crate) use compare_as_bytes;
