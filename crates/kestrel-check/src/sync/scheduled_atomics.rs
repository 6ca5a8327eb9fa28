//! Atomics before each of whose operations shuttle may let another thread run.
//!
//! They are the standard library's inside, and so as large, and valid if all zero: they can lie in zeroed memory and in
//! headers of a fixed size, which shuttle's own cannot. All threads of a model share one thread of the system, so every
//! operation is sequentially consistent, whatever it asks for; what weaker orderings do is loom's to find.

use std::sync::atomic::{self as real, Ordering};
use std::time::Duration;

/// Lets shuttle run another thread. Not a `yield_now`: that tells the scheduler that this thread is waiting.
fn switch() {
    // A destructor that runs while a failed schedule is given up must not fail on its own.
    if !std::thread::panicking() {
        shuttle::thread::sleep(Duration::ZERO);
    }
}

/// A fence has nothing to order here.
pub fn fence(_order: Ordering) {}

macro_rules! scheduled {
    ($name:ident $(<$parameter:ident>)?, $real:ty, $value:ty) => {
        /// The standard library's type of that name, with a scheduling point before each operation.
        #[derive(Debug)]
        #[repr(transparent)]
        pub struct $name $(<$parameter>)? ($real);

        impl $(<$parameter>)? Default for $name $(<$parameter>)? {
            fn default() -> Self {
                Self(<$real>::default())
            }
        }

        impl $(<$parameter>)? $name $(<$parameter>)? {
            /// See the standard library; so are all others.
            pub const fn new(value: $value) -> Self {
                Self(<$real>::new(value))
            }

            #[expect(missing_docs)]
            pub fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            #[expect(missing_docs)]
            pub fn load(&self, order: Ordering) -> $value {
                switch();
                self.0.load(order)
            }

            #[expect(missing_docs)]
            pub fn store(&self, value: $value, order: Ordering) {
                switch();
                self.0.store(value, order);
            }

            #[expect(missing_docs)]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                switch();
                self.0.swap(value, order)
            }

            #[expect(missing_docs)]
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                switch();
                self.0.compare_exchange(current, new, success, failure)
            }
        }
    };
}

macro_rules! scheduled_number {
    ($name:ident, $value:ty) => {
        scheduled!($name, real::$name, $value);

        impl $name {
            scheduled_number!(@operations $value, fetch_add fetch_sub fetch_max fetch_min fetch_or fetch_and);
        }
    };
    (@operations $value:ty, $($operation:ident)*) => {
        $(
            #[expect(missing_docs)]
            pub fn $operation(&self, value: $value, order: Ordering) -> $value {
                switch();
                self.0.$operation(value, order)
            }
        )*
    };
}

scheduled!(AtomicBool, real::AtomicBool, bool);
scheduled!(AtomicPtr<T>, real::AtomicPtr<T>, *mut T);
scheduled_number!(AtomicIsize, isize);
scheduled_number!(AtomicU8, u8);
scheduled_number!(AtomicU32, u32);
scheduled_number!(AtomicU64, u64);
scheduled_number!(AtomicUsize, usize);
