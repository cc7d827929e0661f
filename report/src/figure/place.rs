//! Finding room for words inside a plot.

/// A rectangle in drawing units; y grows downwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) left: i32,
    pub(super) top: i32,
    pub(super) right: i32,
    pub(super) bottom: i32,
}

impl Rect {
    /// A rectangle from its upper left corner and its size.
    pub(super) fn at(left: i32, top: i32, (width, height): (i32, i32)) -> Self {
        Self {
            left,
            top,
            right: left + width,
            bottom: top + height,
        }
    }

    /// A square around a centre.
    pub(super) fn around((x, y): (i32, i32), half: i32) -> Self {
        Self::at(x - half, y - half, (2 * half, 2 * half))
    }

    pub(super) fn width(self) -> i32 {
        self.right - self.left
    }

    pub(super) fn height(self) -> i32 {
        self.bottom - self.top
    }

    pub(super) fn center(self) -> (i32, i32) {
        ((self.left + self.right) / 2, (self.top + self.bottom) / 2)
    }

    fn area(self) -> i64 {
        i64::from(self.width().max(0)) * i64::from(self.height().max(0))
    }

    fn common(self, other: Rect) -> i64 {
        Rect {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
        .area()
    }
}

/// A plot's inside, and what is drawn there already.
#[derive(Debug)]
pub(super) struct Room {
    inside: Rect,
    taken: Vec<Rect>,
}

/// Leaving the plot is worse than covering something in it.
const OUTSIDE: i64 = 20;

/// Space wanted before and after words.
const AIR: i32 = 8;

impl Room {
    pub(super) fn new(inside: Rect) -> Self {
        Self {
            inside,
            taken: Vec::new(),
        }
    }

    /// Marks a place as taken.
    pub(super) fn take(&mut self, rect: Rect) {
        self.taken.push(rect);
    }

    /// Marks the places along a line as taken.
    pub(super) fn take_line(&mut self, (x0, y0): (i32, i32), (x1, y1): (i32, i32)) {
        const STEP: i32 = 8;
        let steps = ((x1 - x0).abs().max((y1 - y0).abs()) / STEP).max(1);
        for i in 0..=steps {
            let x = x0 + (x1 - x0) * i / steps;
            let y = y0 + (y1 - y0) * i / steps;
            // Wider than the line, so that words keep off it.
            self.take(Rect::around((x, y), STEP));
        }
    }

    /// What placing something here would cover, in square units.
    fn cost(&self, rect: Rect) -> i64 {
        let outside = rect.area() - rect.common(self.inside);
        let with_air = Rect {
            left: rect.left - AIR,
            right: rect.right + AIR,
            ..rect
        };
        let covered: i64 = self.taken.iter().map(|t| t.common(with_air)).sum();
        outside * OUTSIDE + covered
    }

    /// Takes the best of the given places, the first among equals; `penalty`
    /// is added to a place's cost.
    pub(super) fn choose(
        &mut self,
        candidates: impl IntoIterator<Item = (Rect, i64)>,
    ) -> Option<Rect> {
        let best = candidates
            .into_iter()
            .min_by_key(|(rect, penalty)| self.cost(*rect) + penalty)
            .map(|(rect, _)| rect)?;
        self.take(best);
        Some(best)
    }

    /// A place for words of this size beside a point: right, left, above,
    /// below, the corners; then farther away.
    pub(super) fn beside(&mut self, (x, y): (i32, i32), size: (i32, i32)) -> Option<Rect> {
        const DISTANCES: [i32; 5] = [18, 34, 56, 84, 120];
        let (width, height) = size;
        let candidates = DISTANCES.into_iter().flat_map(move |d| {
            let near = d * 3 / 4;
            let places = [
                (x + d, y - height / 2),
                (x - d - width, y - height / 2),
                (x - width / 2, y - d - height),
                (x - width / 2, y + d),
                (x + near, y - near - height),
                (x + near, y + near),
                (x - near - width, y - near - height),
                (x - near - width, y + near),
            ];
            places.into_iter().enumerate().map(move |(i, (left, top))| {
                // A small preference for near and for the first places.
                let penalty = i64::from(d) * 4 + i as i64 * 4;
                (Rect::at(left, top, size), penalty)
            })
        });
        self.choose(candidates.collect::<Vec<_>>())
    }

    /// A place for a block of words along the edges of the plot.
    pub(super) fn corner(&mut self, size: (i32, i32), inset: i32) -> Option<Rect> {
        let (width, height) = size;
        let r = self.inside;
        let lefts = [
            r.left + inset,
            r.right - inset - width,
            r.center().0 - width / 2,
        ];
        let tops = [
            r.top + inset,
            r.bottom - inset - height,
            r.center().1 - height / 2,
        ];
        let candidates: Vec<_> = tops
            .into_iter()
            .flat_map(|top| lefts.map(|left| (Rect::at(left, top, size), 0)))
            .collect();
        self.choose(candidates)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Rect, Room};

    #[test]
    fn words_avoid_the_edge_and_each_other() {
        let inside = Rect::at(0, 0, (400, 400));
        let mut room = Room::new(inside);
        room.take(Rect::around((390, 200), 10));
        let first = room.beside((390, 200), (100, 30)).unwrap();
        let second = room.beside((390, 200), (100, 30)).unwrap();
        assert!(first.right <= 400 && second.right <= 400);
        assert_eq!(first.common(second), 0);
    }
}
