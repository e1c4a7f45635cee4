//! How ffmpeg is called.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::names::{MOTION_JPEG_EXTENSIONS, has_extension};

/// Number of bytes at the start of a file that determine what it needs.
pub(super) const HEAD: u64 = 1 << 16;

/// The demuxers that are used: those for files that contain a video themselves. Playlists and the
/// like (HLS, DASH, concat, numbered images), which make ffmpeg open other files, are not among
/// them.
const DEMUXERS: &str = "3dostr,amv,apng,asf,av1,avi,avs,avs2,avs3,bethsoftvid,bfi,bink,bmv,\
    cavsvideo,cdxl,cine,dirac,dnxhd,dv,dxa,ea,evc,ffm,film_cpk,flic,flv,gdv,gif,gxf,h261,h263,\
    h264,hevc,idcin,iv8,ivf,ivr,lmlm4,lvf,m4v,matroska,mgsts,mjpeg,mjpeg_2000,mlv,mm,mov,mp4,\
    mpeg,mpegts,mpegvideo,mtv,mv,mxf,mxg,nsv,nut,nuv,obu,ogg,pmp,pva,r3d,rl2,rm,roq,rpl,ser,\
    siff,smk,smush,swf,thp,tiertexseq,tmv,ty,vc1,vc1test,viv,vivo,vmd,vvc,wc3movie,webm,\
    wsvqa,wtv,xmv,yop,yuv4mpegpipe";

/// Makes pixels square by stretching the shorter side of each pixel, to whole pixels of the
/// picture. Ratios that nobody would notice (2 %) or that cannot be intended (more than 4 to 1) are
/// ignored.
const SQUARE_PIXELS: &str = "scale=w='if(gt(sar,1.02)*lte(sar,4),round(iw*sar),iw)':\
    h='if(lt(sar,1/1.02)*gte(sar,1/4),round(ih/sar),ih)'";

/// What ffmpeg needs for a file, from its first bytes and its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Input {
    /// Streams of this kind are made to be cut and joined anywhere, so a jump from one packet to
    /// another is not damage.
    pub is_transport_stream: bool,
    /// A demuxer if ffmpeg would guess another.
    demuxer: Option<&'static str>,
    /// A decoder if ffmpeg would choose one that does not support transparency.
    decoder: Option<&'static str>,
}

impl Input {
    pub(super) fn new(path: &Path, head: &[u8]) -> Self {
        let is_motion_jpeg = has_extension(path, &MOTION_JPEG_EXTENSIONS);
        Self {
            is_transport_stream: is_transport_stream(head),
            demuxer: (is_motion_jpeg && head.starts_with(b"\xff\xd8")).then_some("mjpeg"),
            decoder: transparent_vpx(head),
        }
    }
}

/// Whether packets of an MPEG transport stream start every 188 bytes, or every 192 with a timestamp
/// before each.
fn is_transport_stream(head: &[u8]) -> bool {
    [(0, 188), (4, 192)].into_iter().any(|(first, packet)| {
        let mut starts = head.iter().skip(first).step_by(packet).take(3);
        starts.len() == 3 && starts.all(|&byte| byte == 0x47)
    })
}

/// The decoder of a WebM or Matroska file whose video has an alpha channel beside it.
fn transparent_vpx(head: &[u8]) -> Option<&'static str> {
    const EBML: &[u8] = b"\x1a\x45\xdf\xa3";
    /// The element AlphaMode, one byte, set.
    const ALPHA_MODE: &[u8] = b"\x53\xc0\x81\x01";
    let holds = |what: &[u8]| head.windows(what.len()).any(|bytes| bytes == what);
    if !head.starts_with(EBML) || !holds(ALPHA_MODE) {
        return None;
    }
    [("V_VP9", "libvpx-vp9"), ("V_VP8", "libvpx")]
        .into_iter()
        .find_map(|(codec, decoder)| holds(codec.as_bytes()).then_some(decoder))
}

/// ffmpeg with the frames of a file's first video as PAM pictures on its standard output. Cover
/// pictures do not count as video.
pub(super) fn command(program: &OsStr, path: &Path, input: Input) -> Command {
    // With the protocol before it, a name may start with a dash or contain a colon.
    let mut file = OsString::from("file:");
    file.push(path);
    let mut command = Command::new(program);
    command.args(["-nostdin", "-filter_threads", "1"]);
    // Without either, a damaged file decodes to damaged frames, with status 0.
    if input.is_transport_stream {
        command.args(["-v", "level+warning", "-max_error_rate", "0"]);
    } else {
        command.args(["-v", "level+error", "-xerror"]);
    }
    command.args(["-protocol_whitelist", "file,pipe"]);
    command.args(["-format_whitelist", DEMUXERS]);
    // Threads of a decoder race with each other to report damage. With one thread, the result is
    // the same every time; several videos are decoded in parallel instead.
    command.args(["-threads", "1"]);
    if let Some(demuxer) = input.demuxer {
        command.args(["-f", demuxer]);
    }
    if let Some(decoder) = input.decoder {
        command.args(["-c:v", decoder]);
    }
    command.arg("-i").arg(file);
    command.args(["-map", "0:V:0", "-an", "-sn", "-dn"]);
    command.args(["-fps_mode", "passthrough"]);
    // The filter chooses the format that keeps an alpha channel only where there is one.
    command.args(["-vf", &format!("{SQUARE_PIXELS},format=rgb24|rgba")]);
    command.args(["-c:v", "pam", "-f", "image2pipe", "pipe:1"]);
    command
        .env_remove("AV_LOG_FORCE_COLOR")
        .env("AV_LOG_FORCE_NOCOLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Ctrl-C in a terminal goes to the whole process group of the program, but we end ffmpeg
    // ourselves.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transport_streams_are_known_by_their_packets() {
        let stream = |first: usize, packet: usize| {
            let mut bytes = vec![0; first + 2 * packet + 1];
            for start in 0..3 {
                bytes[first + start * packet] = 0x47;
            }
            bytes
        };
        assert!(is_transport_stream(&stream(0, 188)));
        assert!(is_transport_stream(&stream(4, 192)));
        assert!(!is_transport_stream(&stream(0, 189)));
        assert!(!is_transport_stream(&stream(0, 188)[..376]));
        assert!(!is_transport_stream(b"G"));
    }

    #[test]
    fn decoders_are_those_that_know_transparency() {
        let head = |mode: u8, codec: &str| {
            [
                b"\x1a\x45\xdf\xa3..\x53\xc0\x81",
                &[mode][..],
                codec.as_bytes(),
            ]
            .concat()
        };
        assert_eq!(transparent_vpx(&head(1, "V_VP9")), Some("libvpx-vp9"));
        assert_eq!(transparent_vpx(&head(1, "V_VP8")), Some("libvpx"));
        assert_eq!(transparent_vpx(&head(0, "V_VP9")), None);
        assert_eq!(transparent_vpx(&head(1, "V_AV1")), None);
        assert_eq!(transparent_vpx(b""), None);
    }
}
