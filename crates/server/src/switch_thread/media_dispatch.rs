//! The port of the switch thread to the media workers.

use media::MediaCommand;

/// Delivers media commands to the media workers.
pub trait MediaDispatch: Send {
    /// Send the commands of one loop iteration to a worker.
    fn send(&self, worker: u8, commands: Vec<MediaCommand>);

    /// The switch has handled the loss of this worker: commands sent from now on are meant for its restarted instance.
    fn reopen(&self, worker: u8);
}
