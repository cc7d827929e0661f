//! Are the two languages linked by a linear map inside Z?
