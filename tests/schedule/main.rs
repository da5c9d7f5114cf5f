//! Backups that members make by themselves, through real processes: the schedule, segments of the log between full ones, what
//! `keelstone ctl backup` does with them, and what a crash, a gap, a damaged file or another leader do to them.

mod crash;
mod damage;
mod gap;
mod leader;
mod readme;
mod retention;
mod revision;
mod rhythm;
mod support;
