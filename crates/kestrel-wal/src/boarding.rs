//! When the next flight of the log takes off.
//!
//! Who was on a flight usually commits again at once. A flight that takes off the moment the one before has landed leaves all of
//! these behind: they wait for it and for the next, and each sync carries half of those who commit. So whoever is to lead gives way
//! to them first, until as many have come as the last flight carried, or nobody came while it gave way [`PATIENCE`] times.
//! One thread alone is the last of its own flight to come back, and takes off at once.
//!
//! Invariant: while somebody waits for a flight that nobody leads, one thread is awake that will lead it: the *pilot*, or who was
//! called when the last flight had landed, or on its way to look at the state.

/// How often the pilot gives way in vain. Where others compute, each time costs a time slice.
const PATIENCE: u32 = 2;

/// Who is expected on the next flight.
#[derive(Debug, Default)]
pub(crate) struct Boarding {
    /// How many who were on the last flight have not come for the next.
    expected: usize,
    /// Somebody gives way, and will look again.
    piloted: bool,
}

/// One thread that wants a place to be durable.
#[derive(Debug, Default)]
pub(crate) struct Passenger {
    arrived: bool,
    /// It is the pilot, and so many were expected when it last looked.
    piloting: Option<usize>,
    in_vain: u32,
}

/// What a passenger does while nobody leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It leads.
    Lead,
    /// It lets others run, and asks again.
    GiveWay,
    /// It waits for the flight: somebody else will lead.
    Wait,
}

impl Boarding {
    /// A passenger has come. Says so once for each.
    pub(crate) fn arrive(&mut self, passenger: &mut Passenger) {
        if !passenger.arrived {
            passenger.arrived = true;
            self.expected = self.expected.saturating_sub(1);
        }
    }

    /// What a passenger that has come does, as nobody leads.
    pub(crate) fn decide(&mut self, passenger: &mut Passenger) -> Decision {
        debug_assert!(passenger.arrived);
        if self.expected == 0 {
            return Decision::Lead;
        }
        match passenger.piloting {
            None if self.piloted => return Decision::Wait,
            Some(before) if before == self.expected => passenger.in_vain += 1,
            _ => {}
        }
        if passenger.in_vain >= PATIENCE {
            return Decision::Lead;
        }
        passenger.piloting = Some(self.expected);
        self.piloted = true;
        Decision::GiveWay
    }

    /// A flight takes off: the next one has no pilot yet.
    pub(crate) fn take_off(&mut self) {
        self.piloted = false;
    }

    /// A flight has landed that carried so many.
    pub(crate) fn land(&mut self, carried: usize) {
        self.expected = carried;
    }
}

impl Passenger {
    /// It sleeps until a flight has landed, and begins anew then.
    pub(crate) fn sleeps(&mut self) {
        self.piloting = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(boarding: &mut Boarding) -> (Passenger, Decision) {
        let mut passenger = Passenger::default();
        boarding.arrive(&mut passenger);
        let decision = boarding.decide(&mut passenger);
        (passenger, decision)
    }

    #[test]
    fn who_is_alone_never_waits() {
        let mut boarding = Boarding::default();
        for _ in 0..3 {
            assert_eq!(arrival(&mut boarding).1, Decision::Lead);
            boarding.take_off();
            boarding.land(1);
        }
    }

    #[test]
    fn the_last_to_come_back_leads_and_only_one_gives_way() {
        let mut boarding = Boarding::default();
        boarding.land(3);
        let (mut pilot, decision) = arrival(&mut boarding);
        assert_eq!(decision, Decision::GiveWay);
        assert_eq!(arrival(&mut boarding).1, Decision::Wait);
        assert_eq!(boarding.decide(&mut pilot), Decision::GiveWay);
        assert_eq!(arrival(&mut boarding).1, Decision::Lead);
        boarding.take_off();
        boarding.land(2);
        assert_eq!(arrival(&mut boarding).1, Decision::GiveWay, "the next flight has a pilot of its own");
    }

    #[test]
    fn the_pilot_waits_for_nobody_who_does_not_come() {
        let mut boarding = Boarding::default();
        boarding.land(5);
        let (mut pilot, _) = arrival(&mut boarding);
        assert_eq!(boarding.decide(&mut pilot), Decision::GiveWay);
        arrival(&mut boarding);
        assert_eq!(boarding.decide(&mut pilot), Decision::GiveWay, "somebody came");
        assert_eq!(boarding.decide(&mut pilot), Decision::Lead);
    }

    #[test]
    fn looking_again_is_no_arrival() {
        let mut boarding = Boarding::default();
        boarding.land(3);
        let (mut passenger, _) = arrival(&mut boarding);
        passenger.sleeps();
        boarding.arrive(&mut passenger);
        assert_eq!(boarding.expected, 2);
    }
}
