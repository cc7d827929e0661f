/// Learning rate over the steps: linear warm-up, then half a cosine down to a
/// share of the peak (Loshchilov & Hutter 2017, without restarts).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Highest learning rate.
    pub peak: f64,
    /// Steps to reach it.
    pub warm_up: u64,
    /// Steps in all.
    pub steps: u64,
    /// Where it ends, as a share of the peak.
    pub floor: f64,
}

impl Schedule {
    /// Learning rate of a step, counted from 0.
    #[must_use]
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warm_up {
            return self.peak * (step + 1) as f64 / self.warm_up as f64;
        }
        let length = self.steps.saturating_sub(self.warm_up).max(1);
        let done = ((step - self.warm_up) as f64 / length as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        self.peak * (self.floor + (1.0 - self.floor) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn rises_to_the_peak_and_falls_to_the_floor() {
        let schedule = Schedule {
            peak: 2.0,
            warm_up: 4,
            steps: 104,
            floor: 0.1,
        };
        assert_eq!(schedule.at(0), 0.5);
        assert_eq!(schedule.at(3), 2.0);
        assert_eq!(schedule.at(4), 2.0);
        assert!((schedule.at(54) - 1.1).abs() < 1e-12);
        assert!((schedule.at(104) - 0.2).abs() < 1e-12);
        assert!((schedule.at(900) - 0.2).abs() < 1e-12);
    }
}
