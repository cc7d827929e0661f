//! A reader of pickles that can build a state dict and do nothing else.
//!
//! A pickle is a program for a small stack machine, and Python's own machine
//! can be told to call anything. This one knows the opcodes that torch writes
//! and the few globals that a state dict names; everything else is refused by
//! name. Opcodes: Python's pickletools, protocols 2 to 5.
//!
//! Every opcode makes at most one value and takes at least a byte, so memory is
//! bounded by the pickle's length. Tuples may nest [`MAX_DEPTH`] deep; lists
//! and dicts live in an arena and refer to each other by index, so no chain of
//! values is freed or walked by recursion.

use std::collections::HashMap;
use std::rc::Rc;

/// Tuples inside tuples; torch's nest 3 deep.
const MAX_DEPTH: usize = 16;

/// Element types of storages, by the name of torch's class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StorageType {
    Half,
    BFloat16,
    Float,
    Double,
    Long,
    Int,
    Short,
    Char,
    Byte,
    Bool,
}

impl StorageType {
    const ALL: [(&'static str, StorageType); 10] = [
        ("HalfStorage", StorageType::Half),
        ("BFloat16Storage", StorageType::BFloat16),
        ("FloatStorage", StorageType::Float),
        ("DoubleStorage", StorageType::Double),
        ("LongStorage", StorageType::Long),
        ("IntStorage", StorageType::Int),
        ("ShortStorage", StorageType::Short),
        ("CharStorage", StorageType::Char),
        ("ByteStorage", StorageType::Byte),
        ("BoolStorage", StorageType::Bool),
    ];

    /// Bytes of an element.
    pub(super) fn size(self) -> u64 {
        match self {
            StorageType::Double | StorageType::Long => 8,
            StorageType::Float | StorageType::Int => 4,
            StorageType::Half | StorageType::BFloat16 | StorageType::Short => 2,
            StorageType::Char | StorageType::Byte | StorageType::Bool => 1,
        }
    }
}

/// What a tensor is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorRef {
    pub(super) kind: StorageType,
    /// Name of the storage in the archive.
    pub(super) key: Rc<str>,
    /// Elements of the storage.
    pub(super) storage_elements: u64,
    /// First element of the tensor in its storage.
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    /// In elements.
    pub(super) stride: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(StorageType),
}

impl Global {
    fn find(module: &str, name: &str) -> Result<Self, String> {
        match (module, name) {
            ("collections", "OrderedDict") => return Ok(Global::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => return Ok(Global::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => return Ok(Global::RebuildParameter),
            ("torch", class) => {
                if let Some((_, kind)) = StorageType::ALL.iter().find(|(n, _)| *n == class) {
                    return Ok(Global::Storage(*kind));
                }
            }
            _ => {}
        }
        Err(format!(
            "it calls for {:?}, which no weights need: do not load it with torch",
            format!("{module}.{name}")
        ))
    }
}

#[derive(Debug, Clone)]
enum Value {
    None,
    Bool,
    Int(i64),
    Text(Rc<str>),
    /// With the depth of its nesting.
    Tuple(Rc<[Value]>, usize),
    List,
    Dict(usize),
    Global(Global),
    Storage(StorageType, Rc<str>, u64),
    Tensor(Rc<TensorRef>),
}

impl Value {
    /// What it is, for messages.
    fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool => "a truth value",
            Value::Int(_) => "a number",
            Value::Text(_) => "a string",
            Value::Tuple(..) => "a tuple",
            Value::List => "a list",
            Value::Dict(_) => "a dict",
            Value::Global(_) => "a class or function",
            Value::Storage(..) => "a storage",
            Value::Tensor(_) => "a tensor",
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack where marks stand.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    dicts: Vec<Vec<(Value, Value)>>,
}

/// Tensors of a pickled state dict by name, in the order of the file.
pub(super) fn state_dict(bytes: &[u8]) -> Result<Vec<(String, TensorRef)>, String> {
    let mut machine = Machine {
        bytes,
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        dicts: Vec::new(),
    };
    let top = machine.run()?;
    let Value::Dict(index) = top else {
        return Err(format!("it holds {}, not a dict of tensors", top.kind()));
    };
    let mut tensors = Vec::new();
    for (key, value) in std::mem::take(&mut machine.dicts[index]) {
        match (key, value) {
            (Value::Text(name), Value::Tensor(tensor)) => {
                tensors.push((name.to_string(), (*tensor).clone()));
            }
            (Value::Text(name), other) => {
                return Err(format!("its entry {name:?} is {}, no tensor", other.kind()));
            }
            (key, _) => return Err(format!("a name in it is {}", key.kind())),
        }
    }
    Ok(tensors)
}

impl<'a> Machine<'a> {
    /// Runs to the end; gives the one value that is left.
    fn run(&mut self) -> Result<Value, String> {
        loop {
            let start = self.at;
            let opcode = self.byte()?;
            if opcode == b'.' {
                let top = self.pop()?;
                return if self.stack.is_empty() && self.marks.is_empty() {
                    Ok(top)
                } else {
                    Err("it ends with values left over".to_owned())
                };
            }
            self.step(opcode)
                .map_err(|reason| format!("{reason} (opcode {opcode:#04x} at byte {start})"))?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            0x80 => {
                let version = self.byte()?;
                if !(2..=5).contains(&version) {
                    return Err(format!("its protocol is {version}; 2 to 5 are supported"));
                }
            }
            // A frame says how many bytes follow it, for readers of streams.
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Bool),
            b'K' => {
                let value = self.byte()?;
                self.stack.push(Value::Int(i64::from(value)));
            }
            b'M' => {
                let value = self.unsigned::<2>()?;
                self.stack.push(Value::Int(value as i64));
            }
            b'J' => {
                let value = self.unsigned::<4>()? as u32;
                self.stack.push(Value::Int(i64::from(value as i32)));
            }
            0x8a => self.long()?,
            b'X' => {
                let length = self.unsigned::<4>()?;
                self.text(length)?;
            }
            0x8c => {
                let length = u64::from(self.byte()?);
                self.text(length)?;
            }
            b')' => self.tuple(Vec::new())?,
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode - 0x84))?;
                self.tuple(items)?;
            }
            b't' => {
                let items = self.pop_mark()?;
                self.tuple(items)?;
            }
            b']' => self.stack.push(Value::List),
            // What a list holds is of no interest: no weights are in one.
            b'a' => {
                self.pop()?;
                self.list()?;
            }
            b'e' => {
                self.pop_mark()?;
                self.list()?;
            }
            b'}' => self.new_dict(),
            b's' => {
                let items = self.pop_many(2)?;
                self.set_items(items)?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(items)?;
            }
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.stack.push(Value::Global(Global::find(module, name)?));
            }
            0x93 => match self.pop_many(2)?.as_slice() {
                [Value::Text(module), Value::Text(name)] => {
                    self.stack.push(Value::Global(Global::find(module, name)?));
                }
                _ => return Err("a global's name is no string".to_owned()),
            },
            b'q' => {
                let index = u32::from(self.byte()?);
                self.put(index)?;
            }
            b'r' => {
                let index = self.unsigned::<4>()? as u32;
                self.put(index)?;
            }
            0x94 => {
                let index = self.memo.len() as u32;
                self.put(index)?;
            }
            b'h' => {
                let index = u32::from(self.byte()?);
                self.get(index)?;
            }
            b'j' => {
                let index = self.unsigned::<4>()? as u32;
                self.get(index)?;
            }
            b'Q' => self.persistent()?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            _ => return Err("it uses an opcode that no weights need".to_owned()),
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self
            .at
            .checked_add(count)
            .filter(|e| *e <= self.bytes.len());
        let Some(end) = end else {
            return Err(format!(
                "{count} bytes are wanted at byte {} of {}: it is truncated",
                self.at,
                self.bytes.len()
            ));
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    /// A number of N bytes, little endian, N at most 8.
    fn unsigned<const N: usize>(&mut self) -> Result<u64, String> {
        let bytes = self.take(N)?;
        Ok(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    /// A number of up to 8 bytes in two's complement.
    fn long(&mut self) -> Result<(), String> {
        let length = usize::from(self.byte()?);
        if length > 8 {
            return Err(format!("a number of {length} bytes is beyond 64 bits"));
        }
        let bytes = self.take(length)?;
        let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) {
            0xff
        } else {
            0
        };
        let mut wide = [fill; 8];
        wide[..length].copy_from_slice(bytes);
        self.stack.push(Value::Int(i64::from_le_bytes(wide)));
        Ok(())
    }

    fn text(&mut self, length: u64) -> Result<(), String> {
        let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        let text = std::str::from_utf8(bytes).map_err(|_| "a string is no UTF-8".to_owned())?;
        self.stack.push(Value::Text(text.into()));
        Ok(())
    }

    /// Up to the end of the line.
    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|b| *b == b'\n') else {
            return Err("a global's name does not end: it is truncated".to_owned());
        };
        let line = self.take(length)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| "a global's name is no UTF-8".to_owned())
    }

    fn pop(&mut self) -> Result<Value, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("it takes a value that is not there".to_owned());
        }
        self.stack
            .pop()
            .ok_or_else(|| "it takes a value that is not there".to_owned())
    }

    /// The last `count` values, in the order in which they were made.
    fn pop_many(&mut self, count: usize) -> Result<Vec<Value>, String> {
        let mut items = (0..count)
            .map(|_| self.pop())
            .collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        Ok(items)
    }

    /// All values above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Value>, String> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err("it goes back to a mark that is not there".to_owned()),
        }
    }

    fn tuple(&mut self, items: Vec<Value>) -> Result<(), String> {
        let inner = items.iter().map(|item| match item {
            Value::Tuple(_, depth) => *depth,
            _ => 0,
        });
        let depth = 1 + inner.max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err(format!("its tuples nest more than {MAX_DEPTH} deep"));
        }
        self.stack.push(Value::Tuple(items.into(), depth));
        Ok(())
    }

    fn list(&mut self) -> Result<(), String> {
        match self.pop()? {
            Value::List => {
                self.stack.push(Value::List);
                Ok(())
            }
            other => Err(format!("it appends to {}", other.kind())),
        }
    }

    fn new_dict(&mut self) {
        self.stack.push(Value::Dict(self.dicts.len()));
        self.dicts.push(Vec::new());
    }

    fn set_items(&mut self, items: Vec<Value>) -> Result<(), String> {
        let index = match self.stack.last() {
            Some(Value::Dict(index)) if self.stack.len() > self.marks.last().map_or(0, |m| *m) => {
                *index
            }
            Some(other) => return Err(format!("it sets an entry of {}", other.kind())),
            None => return Err("it sets an entry of nothing".to_owned()),
        };
        let mut items = items.into_iter();
        while let Some(key) = items.next() {
            let Some(value) = items.next() else {
                return Err("it sets an entry to nothing".to_owned());
            };
            self.dicts[index].push((key, value));
        }
        Ok(())
    }

    fn put(&mut self, index: u32) -> Result<(), String> {
        let value = self.pop()?;
        self.memo.insert(index, value.clone());
        self.stack.push(value);
        Ok(())
    }

    fn get(&mut self, index: u32) -> Result<(), String> {
        match self.memo.get(&index) {
            Some(value) => {
                self.stack.push(value.clone());
                Ok(())
            }
            None => Err(format!("it asks for value {index}, which it never kept")),
        }
    }

    /// ("storage", class, key, device, elements).
    fn persistent(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let Value::Tuple(items, _) = &id else {
            return Err(format!("a storage is described by {}", id.kind()));
        };
        let [
            Value::Text(word),
            Value::Global(Global::Storage(kind)),
            Value::Text(key),
            Value::Text(_),
            Value::Int(elements),
        ] = items.as_ref()
        else {
            return Err(format!(
                "a storage is described by a tuple of {} that is not \
                 (\"storage\", class, key, device, elements)",
                items.len()
            ));
        };
        if word.as_ref() != "storage" {
            return Err(format!("a persistent id is {word:?}, not \"storage\""));
        }
        let elements = not_negative(*elements, "the elements of a storage")?;
        self.stack
            .push(Value::Storage(*kind, key.clone(), elements));
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), String> {
        let arguments = self.pop()?;
        let callee = self.pop()?;
        let Value::Tuple(arguments, _) = &arguments else {
            return Err(format!("it calls with {}", arguments.kind()));
        };
        match callee {
            Value::Global(Global::OrderedDict) => match arguments.len() {
                0 => self.new_dict(),
                n => return Err(format!("it makes an OrderedDict of {n} arguments")),
            },
            Value::Global(Global::RebuildTensor) => self.tensor(arguments)?,
            Value::Global(Global::RebuildParameter) => match arguments.as_ref() {
                [tensor @ Value::Tensor(_), ..] => self.stack.push(tensor.clone()),
                _ => return Err("it makes a parameter of what is no tensor".to_owned()),
            },
            other => return Err(format!("it calls {}", other.kind())),
        }
        Ok(())
    }

    /// (storage, offset, shape, stride, requires gradient, hooks, ...).
    fn tensor(&mut self, arguments: &[Value]) -> Result<(), String> {
        let [
            Value::Storage(kind, key, elements),
            Value::Int(offset),
            Value::Tuple(shape, _),
            Value::Tuple(stride, _),
            _,
            _,
            ..,
        ] = arguments
        else {
            return Err(format!(
                "it makes a tensor of {} arguments that are not (storage, offset, shape, \
                 stride, requires_grad, hooks)",
                arguments.len()
            ));
        };
        let numbers = |values: &[Value], what: &str| {
            let numbers = values.iter().map(|value| match value {
                Value::Int(n) => not_negative(*n, what),
                other => Err(format!("{what} holds {}", other.kind())),
            });
            numbers.collect::<Result<Vec<u64>, String>>()
        };
        let tensor = TensorRef {
            kind: *kind,
            key: key.clone(),
            storage_elements: *elements,
            offset: not_negative(*offset, "a tensor's offset")?,
            shape: numbers(shape, "a tensor's shape")?,
            stride: numbers(stride, "a tensor's stride")?,
        };
        if tensor.shape.len() != tensor.stride.len() {
            return Err(format!(
                "a tensor has {} dimensions and {} strides",
                tensor.shape.len(),
                tensor.stride.len()
            ));
        }
        self.stack.push(Value::Tensor(Rc::new(tensor)));
        Ok(())
    }

    /// Attributes of a state dict, which holds its format's version there.
    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        match (self.stack.last(), state) {
            (Some(Value::Dict(_)), Value::Dict(_)) => Ok(()),
            (Some(target), state) => Err(format!(
                "it sets the state of {} to {}",
                target.kind(),
                state.kind()
            )),
            (None, _) => Err("it sets the state of nothing".to_owned()),
        }
    }
}

fn not_negative(value: i64, what: &str) -> Result<u64, String> {
    u64::try_from(value).map_err(|_| format!("{what} is {value}, below 0"))
}
