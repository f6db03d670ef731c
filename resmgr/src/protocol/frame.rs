//! Lines on a stream: bounded, and never more in memory than one of them and what came with it.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest request that the agent reads.
pub const MAX_REQUEST_BYTES: usize = 64 << 10;

/// The longest answer that a client reads: 100,000 processes fit.
pub const MAX_RESPONSE_BYTES: usize = 256 << 20;

/// Reading a line failed.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The line is longer than is read here.
    #[error("a line of more than {0} bytes")]
    TooLong(usize),
    /// The stream ended inside a line.
    #[error("the connection ended in the middle of a line")]
    Cut,
}

/// Reads lines from a stream.
pub struct Lines<R> {
    stream: R,
    buffer: BytesMut,
    /// Bytes of the buffer that are known to hold no line's end.
    searched: usize,
    longest: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Lines of at most `longest` bytes.
    pub fn new(stream: R, longest: usize) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            searched: 0,
            longest,
        }
    }

    /// The next line without its end; `None` at the stream's end. May be cancelled without losing bytes.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|&b| b == b'\n') {
                let mut line = self.buffer.split_to(self.searched + end + 1);
                self.searched = 0;
                line.truncate(line.len() - 1);
                if line.len() > self.longest {
                    return Err(FrameError::TooLong(self.longest));
                }
                return Ok(Some(line.freeze()));
            }
            self.searched = self.buffer.len();
            if self.searched > self.longest {
                return Err(FrameError::TooLong(self.longest));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(FrameError::Cut)
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Lines as they arrive: in pieces, several at once, too long, cut.
    use super::*;

    async fn lines(input: &[u8], longest: usize) -> (Vec<Bytes>, Option<FrameError>) {
        let mut lines = Lines::new(input, longest);
        let mut all = Vec::new();
        loop {
            match lines.next().await {
                Ok(Some(line)) => all.push(line),
                Ok(None) => return (all, None),
                Err(error) => return (all, Some(error)),
            }
        }
    }

    #[tokio::test]
    async fn several_lines_in_one_read_are_several_lines() {
        let (all, error) = lines(b"one\n\ntwo\n", 10).await;
        assert_eq!(all, ["one", "", "two"]);
        assert!(error.is_none());
    }

    #[tokio::test]
    async fn a_line_that_arrives_in_pieces_is_one_line() {
        let pieces = tokio_test_pieces(&[b"he", b"ll", b"o\n"]);
        let mut lines = Lines::new(pieces, 10);
        assert_eq!(lines.next().await.unwrap().unwrap(), "hello");
    }

    fn tokio_test_pieces(pieces: &[&'static [u8]]) -> impl AsyncRead + Unpin + use<> {
        let mut chain: Box<dyn AsyncRead + Unpin> = Box::new(tokio::io::empty());
        for piece in pieces.iter().rev() {
            chain = Box::new(piece.chain(chain));
        }
        chain
    }

    #[tokio::test]
    async fn a_line_beyond_the_bound_is_refused_without_being_read_whole() {
        let (_, error) = lines(&[b'x'; 1000], 10).await;
        assert!(matches!(error, Some(FrameError::TooLong(10))));
        let (all, error) = lines(b"0123456789\n0123456789a\n", 10).await;
        assert_eq!(all, ["0123456789"]);
        assert!(matches!(error, Some(FrameError::TooLong(10))));
    }

    #[tokio::test]
    async fn half_a_line_at_the_end_is_an_error() {
        let (all, error) = lines(b"whole\nhalf", 10).await;
        assert_eq!(all, ["whole"]);
        assert!(matches!(error, Some(FrameError::Cut)));
    }
}
