//! Files of moving pictures.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use rescore_store::{StoreError, output};

/// More frames per second than this are not worth their bytes.
const FRAMES_PER_SECOND: f64 = 25.0;

/// Which environment steps become frames: every so many, and how long each is seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// One step of so many is drawn.
    pub every: u32,
    /// Seconds that a frame is seen.
    pub seconds: f64,
}

impl Pace {
    /// Real time, for environment steps of `dt` seconds.
    pub fn real_time(dt: f64) -> Self {
        let every = (1.0 / (dt * FRAMES_PER_SECOND)).round().max(1.0);
        Self {
            every: every as u32,
            seconds: every * dt,
        }
    }
}

/// A film being written.
pub enum Film {
    /// An animated GIF.
    Gif {
        path: PathBuf,
        encoder: gif::Encoder<BufWriter<File>>,
        size: (u16, u16),
        /// In hundredths of a second.
        delay: u16,
    },
    /// H.264 in MP4, encoded by the program `ffmpeg`.
    Mp4 {
        path: PathBuf,
        encoder: Child,
        input: ChildStdin,
    },
}

impl Film {
    /// Begins the file `path`, whose ending says what it is.
    ///
    /// # Errors
    /// For another ending than `.gif` and `.mp4`, when the file must not be replaced or cannot be
    /// created, and for MP4 when there is no `ffmpeg`.
    pub fn create(path: &Path, size: (u16, u16), pace: Pace) -> Result<Self, StoreError> {
        match output::picture(path, output::FILMS)? {
            "mp4" => Self::mp4(path, size, pace),
            _ => Self::gif(path, size, pace),
        }
    }

    fn gif(path: &Path, size: (u16, u16), pace: Pace) -> Result<Self, StoreError> {
        let file = File::create(path).map_err(StoreError::io("create", path))?;
        let mut encoder = gif::Encoder::new(BufWriter::new(file), size.0, size.1, &[])
            .map_err(|e| failed(path, &e))?;
        encoder
            .set_repeat(gif::Repeat::Infinite)
            .map_err(|e| failed(path, &e))?;
        Ok(Self::Gif {
            path: path.to_owned(),
            encoder,
            size,
            delay: (100.0 * pace.seconds).round().max(2.0) as u16,
        })
    }

    fn mp4(path: &Path, size: (u16, u16), pace: Pace) -> Result<Self, StoreError> {
        let mut command = Command::new("ffmpeg");
        command
            .args(["-loglevel", "error", "-y"])
            .args(["-f", "rawvideo", "-pixel_format", "rgb24"])
            .args(["-video_size", &format!("{}x{}", size.0, size.1)])
            .args(["-framerate", &format!("{}", 1.0 / pace.seconds)])
            // Players want even sizes and this format of pixels.
            .args(["-i", "-", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2"])
            .args(["-pix_fmt", "yuv420p"])
            .arg(path)
            .stdin(Stdio::piped());
        let mut encoder = command.spawn().map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                StoreError::refused(
                    "writing .mp4 needs the program `ffmpeg`, which was not found",
                    "install it (on Debian and Ubuntu the package ffmpeg), or write a .gif",
                )
            } else {
                StoreError::io("start ffmpeg for", path)(error)
            }
        })?;
        let Some(input) = encoder.stdin.take() else {
            unreachable!("a pipe was asked for");
        };
        Ok(Self::Mp4 {
            path: path.to_owned(),
            encoder,
            input,
        })
    }

    /// Adds a frame, `[height, width, 3]` bytes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, rgb: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::Gif {
                path,
                encoder,
                size,
                delay,
            } => {
                // From 1, best, to 30, fastest.
                let mut frame = gif::Frame::from_rgb_speed(size.0, size.1, rgb, 10);
                frame.delay = *delay;
                encoder.write_frame(&frame).map_err(|e| failed(path, &e))
            }
            Self::Mp4 { path, input, .. } => {
                input.write_all(rgb).map_err(StoreError::io("write", path))
            }
        }
    }

    /// Completes the file.
    ///
    /// # Errors
    /// When it cannot be written, or `ffmpeg` says that it failed.
    pub fn finish(self) -> Result<(), StoreError> {
        match self {
            Self::Gif { path, encoder, .. } => encoder
                .into_inner()
                .map_err(|e| failed(&path, &e))?
                .flush()
                .map_err(StoreError::io("write", &path)),
            Self::Mp4 {
                path,
                mut encoder,
                input,
            } => {
                drop(input);
                let status = encoder.wait().map_err(StoreError::io("write", &path))?;
                if status.success() {
                    return Ok(());
                }
                let error = std::io::Error::other(format!("ffmpeg failed ({status})"));
                Err(StoreError::io("write", &path)(error))
            }
        }
    }
}

fn failed(path: &Path, error: &gif::EncodingError) -> StoreError {
    StoreError::io("write", path)(std::io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn films_run_in_real_time() {
        let pace = |dt| {
            let pace = Pace::real_time(dt);
            (pace.every, (1000.0 * pace.seconds).round() as u32)
        };
        assert_eq!(pace(0.05), (1, 50));
        assert_eq!(pace(0.008), (5, 40));
        assert_eq!(pace(0.015), (3, 45));
        assert_eq!(pace(0.02), (2, 40));
        assert_eq!(pace(1.0), (1, 1000));
    }

    #[test]
    fn a_gif_holds_the_frames_it_was_given() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("film.gif");
        let mut film = Film::create(&path, (4, 2), Pace::real_time(0.05)).expect("writable");
        for shade in [0u8, 100, 200] {
            film.add(&[shade; 24]).expect("writable");
        }
        film.finish().expect("writable");
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let file = File::open(&path).expect("just written");
        let mut decoder = options.read_info(file).expect("a GIF");
        let mut shades = Vec::new();
        while let Some(frame) = decoder.read_next_frame().expect("whole frames") {
            assert_eq!(frame.delay, 5);
            shades.push(frame.buffer[0]);
        }
        assert_eq!(shades, [0, 100, 200]);
    }

    #[test]
    fn other_endings_are_refused() {
        let error = Film::create(Path::new("film.avi"), (4, 2), Pace::real_time(0.05))
            .err()
            .expect("no such format");
        assert_eq!(error.exit_code(), 2);
        assert!(error.hint().is_some_and(|hint| hint.contains(".gif")));
    }
}
