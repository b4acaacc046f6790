//! What the user wrote: documents, their spans, and the errors that cite them.
