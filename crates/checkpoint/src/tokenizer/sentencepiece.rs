//! SentencePiece's BPE (Kudo and Richardson 2018; bpe_model.cc): of all
//! neighbouring pieces whose join is in the vocabulary, the pair whose join has
//! the best score is joined, the leftmost of equals first.
//!
//! The tokenizers library ranks pairs and not joins, so that of two equal
//! joins from different pairs it does not take the leftmost; and it wants every
//! pair listed, half a million for Gemma's vocabulary.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

/// What stands for a space inside pieces, U+2581.
const SPACE: &str = "\u{2581}";

/// What a piece is; the numbers are those of GGUF's `token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// 1: may be joined from others.
    Normal,
    /// 2: stands for what cannot be spelled.
    Unknown,
    /// 3: a special token; matched in a text before anything else, as
    /// transformers does.
    Control,
    /// 4: matched in a text as a whole and never joined with others.
    UserDefined,
    /// 5: joined, but split again in the result.
    Unused,
    /// 6: one byte of a character that has no piece.
    Byte,
}

impl Kind {
    pub(super) fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            1 => Kind::Normal,
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            5 => Kind::Unused,
            6 => Kind::Byte,
            _ => return None,
        })
    }
}

/// One entry of the vocabulary; its place is its id.
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: Kind,
}

pub(super) struct SentencePiece {
    pieces: Vec<Piece>,
    /// Ids of pieces that text is joined to.
    joined: HashMap<String, u32>,
    /// Ids of the 256 bytes, if there are all of them.
    bytes: Option<Vec<u32>>,
    /// Id of what cannot be spelled.
    unknown: Option<u32>,
    control: Matcher,
    user_defined: Matcher,
    /// Is a space put before the text?
    space_prefix: bool,
}

impl SentencePiece {
    /// An error is a reason why these are no vocabulary.
    pub(super) fn new(pieces: Vec<Piece>, space_prefix: bool) -> Result<Self, String> {
        let mut joined = HashMap::with_capacity(pieces.len());
        let mut bytes = vec![None; 256];
        let mut unknown = None;
        let (mut control, mut user_defined) = (Vec::new(), Vec::new());
        for (id, piece) in (0u32..).zip(&pieces) {
            match piece.kind {
                Kind::Normal | Kind::Unused => {
                    joined.entry(piece.text.clone()).or_insert(id);
                }
                Kind::UserDefined => {
                    // Some converters write these with plain spaces.
                    user_defined.push((piece.text.replace(' ', SPACE), id));
                }
                Kind::Control => control.push((piece.text.clone(), id)),
                Kind::Unknown => unknown = unknown.or(Some(id)),
                Kind::Byte => match byte_of(&piece.text) {
                    Some(byte) => bytes[usize::from(byte)] = Some(id),
                    None => return Err(format!("has byte token {:?}, not <0xNN>", piece.text)),
                },
            }
        }
        let bytes: Option<Vec<u32>> = bytes.into_iter().collect();
        if bytes.is_none() && unknown.is_none() {
            return Err("has neither 256 byte tokens nor an unknown one".to_owned());
        }
        Ok(Self {
            pieces,
            joined,
            bytes,
            unknown,
            control: Matcher::new(control),
            user_defined: Matcher::new(user_defined),
            space_prefix,
        })
    }

    /// Ids of `text`. A space is put before every stretch between control
    /// tokens, as transformers and llama.cpp do.
    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut start = 0;
        let mut at = 0;
        while at < text.len() {
            if let Some((length, id)) = self.control.at(&text[at..]) {
                self.encode_part(&text[start..at], &mut ids);
                ids.push(id);
                at += length;
                start = at;
            } else {
                at += first_char(&text[at..]);
            }
        }
        self.encode_part(&text[start..], &mut ids);
        ids
    }

    /// A stretch of text without control tokens.
    fn encode_part(&self, text: &str, ids: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        let mut escaped = text.replace(' ', SPACE);
        if self.space_prefix {
            escaped.insert_str(0, SPACE);
        }
        Merge::new(self, &escaped).run(ids);
    }

    /// The text of some ids, control tokens left out.
    pub(super) fn decode(&self, ids: &[u32]) -> Result<String, String> {
        let mut bytes = Vec::new();
        for id in ids {
            let Some(piece) = self.pieces.get(*id as usize) else {
                return Err(format!(
                    "id {id} is beyond the vocabulary of {}",
                    self.pieces.len()
                ));
            };
            match piece.kind {
                Kind::Control => {}
                Kind::Byte => bytes.extend(byte_of(&piece.text)),
                _ => bytes.extend(piece.text.replace(SPACE, " ").bytes()),
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(match text.strip_prefix(' ') {
            Some(rest) if self.space_prefix => rest.to_owned(),
            _ => text,
        })
    }
}

/// The byte that "<0xNN>" stands for.
fn byte_of(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok()
}

/// Bytes of the first character.
fn first_char(text: &str) -> usize {
    text.chars().next().map_or(1, char::len_utf8)
}

/// Tokens that are looked for in a text: the longest that begins at a place.
struct Matcher {
    /// By first byte, the longest first.
    tokens: HashMap<u8, Vec<(String, u32)>>,
}

impl Matcher {
    fn new(list: Vec<(String, u32)>) -> Self {
        let mut tokens: HashMap<u8, Vec<(String, u32)>> = HashMap::new();
        for (text, id) in list {
            if let Some(first) = text.bytes().next() {
                tokens.entry(first).or_default().push((text, id));
            }
        }
        for tokens in tokens.values_mut() {
            tokens.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        }
        Self { tokens }
    }

    /// Length in bytes and id of the longest token that `text` begins with.
    fn at(&self, text: &str) -> Option<(usize, u32)> {
        let tokens = self.tokens.get(text.as_bytes().first()?)?;
        let (token, id) = tokens.iter().find(|(token, _)| text.starts_with(token))?;
        Some((token.len(), *id))
    }
}

/// A piece of the text while it is joined.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    /// In bytes; 0 once it is joined to the one before.
    len: usize,
    previous: Option<usize>,
    next: Option<usize>,
    /// Id of a user-defined token, which is not joined.
    token: Option<u32>,
}

/// Two neighbours that might be joined.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Of the join, in bytes: another one means that a part has grown since.
    len: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        let leftmost = other.left.cmp(&self.left);
        self.score.total_cmp(&other.score).then(leftmost)
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

struct Merge<'a> {
    model: &'a SentencePiece,
    text: &'a str,
    symbols: Vec<Symbol>,
    agenda: BinaryHeap<Pair>,
    /// Of an unused join, the length of its left part.
    parts: HashMap<&'a str, usize>,
}

impl<'a> Merge<'a> {
    fn new(model: &'a SentencePiece, text: &'a str) -> Self {
        let mut symbols = Vec::new();
        let mut start = 0;
        while start < text.len() {
            let rest = &text[start..];
            let (len, token) = match model.user_defined.at(rest) {
                Some((len, id)) => (len, Some(id)),
                None => (first_char(rest), None),
            };
            let index: usize = symbols.len();
            symbols.push(Symbol {
                start,
                len,
                previous: index.checked_sub(1),
                next: Some(index + 1),
                token,
            });
            start += len;
        }
        if let Some(last) = symbols.last_mut() {
            last.next = None;
        }
        Self {
            model,
            text,
            symbols,
            agenda: BinaryHeap::new(),
            parts: HashMap::new(),
        }
    }

    fn consider(&mut self, left: Option<usize>, right: Option<usize>) {
        let (Some(left), Some(right)) = (left, right) else {
            return;
        };
        let (a, b) = (self.symbols[left], self.symbols[right]);
        if a.token.is_some() || b.token.is_some() {
            return;
        }
        let len = a.len + b.len;
        let join = &self.text[a.start..a.start + len];
        let Some(id) = self.model.joined.get(join) else {
            return;
        };
        let piece = &self.model.pieces[*id as usize];
        self.agenda.push(Pair {
            score: piece.score,
            left,
            right,
            len,
        });
        if piece.kind == Kind::Unused {
            self.parts.insert(join, a.len);
        }
    }

    fn run(mut self, ids: &mut Vec<u32>) {
        for right in 1..self.symbols.len() {
            self.consider(Some(right - 1), Some(right));
        }
        while let Some(pair) = self.agenda.pop() {
            let (left, right) = (self.symbols[pair.left], self.symbols[pair.right]);
            if left.len == 0 || right.len == 0 || left.len + right.len != pair.len {
                continue;
            }
            self.symbols[pair.left].len = pair.len;
            self.symbols[pair.left].next = right.next;
            self.symbols[pair.right].len = 0;
            if let Some(next) = right.next {
                self.symbols[next].previous = Some(pair.left);
            }
            self.consider(left.previous, Some(pair.left));
            self.consider(Some(pair.left), right.next);
        }
        let mut unknown_before = false;
        for symbol in self.symbols.iter().filter(|symbol| symbol.len > 0) {
            if let Some(id) = symbol.token {
                ids.push(id);
                unknown_before = false;
            } else {
                let piece = &self.text[symbol.start..symbol.start + symbol.len];
                self.emit(piece, ids, &mut unknown_before);
            }
        }
    }

    /// The ids of a piece that is left: its own, those of its parts if it is
    /// unused, those of its bytes, or the unknown one for a run of such pieces.
    fn emit(&self, piece: &str, ids: &mut Vec<u32>, unknown_before: &mut bool) {
        // A stack and no recursion: an unused piece may be as long as the text.
        let mut rest = vec![piece];
        while let Some(piece) = rest.pop() {
            let known = self.model.joined.get(piece);
            if let Some(id) = known {
                let unused = self.model.pieces[*id as usize].kind == Kind::Unused;
                match self.parts.get(piece) {
                    Some(left) if unused => {
                        rest.push(&piece[*left..]);
                        rest.push(&piece[..*left]);
                    }
                    _ => {
                        ids.push(*id);
                        *unknown_before = false;
                    }
                }
            } else if let Some(bytes) = &self.model.bytes {
                ids.extend(piece.bytes().map(|byte| bytes[usize::from(byte)]));
            } else {
                if !*unknown_before {
                    ids.extend(self.model.unknown);
                }
                *unknown_before = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Piece, SentencePiece};

    fn model(pieces: &[(&str, f32, Kind)], space_prefix: bool) -> SentencePiece {
        let pieces = pieces.iter().map(|(text, score, kind)| Piece {
            text: (*text).to_owned(),
            score: *score,
            kind: *kind,
        });
        SentencePiece::new(pieces.collect(), space_prefix).unwrap_or_else(|e| panic!("{e}"))
    }

    /// By hand: of two equal joins the left one goes first whatever its parts;
    /// ranks of pairs would join the right one of "aaaa" where (a, aa) comes
    /// before (aa, a).
    #[test]
    fn equal_scores_go_from_left_to_right() {
        let model = model(
            &[
                ("<unk>", 0.0, Kind::Unknown),
                ("a", -9.0, Kind::Normal),
                ("aa", -1.0, Kind::Normal),
                ("aaa", -2.0, Kind::Normal),
            ],
            false,
        );
        // aa aa -> no join of two aa; aa a -> aaa.
        assert_eq!(model.encode("aaaa"), [2, 2]);
        assert_eq!(model.encode("aaaaa"), [2, 3]);
        assert_eq!(model.encode("aaa"), [3]);
    }

    #[test]
    fn what_has_no_piece_becomes_bytes_or_one_unknown() {
        let mut pieces: Vec<(String, f32, Kind)> = (0..256)
            .map(|byte| (format!("<0x{byte:02X}>"), 0.0, Kind::Byte))
            .collect();
        pieces.push(("a".to_owned(), -1.0, Kind::Normal));
        let borrowed: Vec<(&str, f32, Kind)> = pieces
            .iter()
            .map(|(t, s, k)| (t.as_str(), *s, *k))
            .collect();
        let bytes = model(&borrowed, false);
        assert_eq!(bytes.encode("aé"), [256, 0xc3, 0xa9]);
        assert_eq!(bytes.decode(&[256, 0xc3, 0xa9]).as_deref(), Ok("aé"));
        let unknown = model(
            &[("<unk>", 0.0, Kind::Unknown), ("a", -1.0, Kind::Normal)],
            false,
        );
        assert_eq!(unknown.encode("aéüa"), [1, 0, 1]);
    }

    #[test]
    fn tokens_of_their_own_are_found_first_and_never_joined() {
        let model = model(
            &[
                ("<unk>", 0.0, Kind::Unknown),
                ("<s>", 0.0, Kind::Control),
                ("\n", -1.0, Kind::UserDefined),
                ("\n\n", -1.0, Kind::UserDefined),
                ("  ", -1.0, Kind::UserDefined),
                ("a", -1.0, Kind::Normal),
                ("\na", 5.0, Kind::Normal),
                ("\u{2581}", -2.0, Kind::Normal),
                ("\u{2581}a", -3.0, Kind::Normal),
            ],
            true,
        );
        assert_eq!(model.encode("a\n\n\na"), [8, 3, 2, 5]);
        assert_eq!(model.encode("a  a"), [8, 4, 5]);
        assert_eq!(model.encode("<s>a"), [1, 8]);
        assert_eq!(model.decode(&[1, 8, 4, 5]).as_deref(), Ok("a  a"));
    }

    /// By hand: "ab" may be joined, which lets "abc" be, and alone is split
    /// again.
    #[test]
    fn unused_pieces_are_stepping_stones() {
        let model = model(
            &[
                ("<unk>", 0.0, Kind::Unknown),
                ("a", -5.0, Kind::Normal),
                ("b", -5.0, Kind::Normal),
                ("c", -5.0, Kind::Normal),
                ("ab", -1.0, Kind::Unused),
                ("abc", -2.0, Kind::Normal),
            ],
            false,
        );
        assert_eq!(model.encode("abcab"), [5, 1, 2]);
    }
}
