//! The recorder and the sniffer as programs, between our client and our server: live, over every transport, and on files that
//! are still written.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod complaints;
mod files;
mod live;
mod transports;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// The first argument that makes this program the server.
const SERVE_ARGUMENT: &str = "--serve";

type Run = fn() -> world::Result;

const TRIALS: &[(&str, Run)] = &[
    ("live::lines_come_while_the_peers_speak_and_the_capture_says_the_same", live::lines_come_at_once),
    ("live::figures_come_at_the_end", live::figures_come_at_the_end),
    ("live::it_ends_when_nobody_reads_it_any_more", live::it_ends_when_nobody_reads_it),
    ("live::peers_do_not_wait_for_a_terminal_that_stands_still", live::peers_do_not_wait),
    ("live::arguments_that_do_not_go_together", live::arguments_that_do_not_go_together),
    ("complaints::a_server_that_is_away", complaints::a_server_that_is_away),
    ("complaints::a_capture_is_not_overwritten", complaints::a_capture_is_not_overwritten),
    ("complaints::what_is_converted_overwrites_nothing", complaints::converting_overwrites_nothing),
    ("complaints::what_is_shown_of_strangers", complaints::what_is_shown_of_strangers),
    ("complaints::addresses_and_names", complaints::addresses_and_names),
    ("complaints::what_is_not_zeo", complaints::what_is_not_zeo),
    ("complaints::zeros_are_passed_over", complaints::zeros_are_passed_over),
    ("files::a_capture_is_followed", files::a_capture_is_followed),
    ("files::packets_are_followed", files::packets_are_followed),
    ("files::a_recording_is_followed", files::a_recording_is_followed),
    ("files::figures_of_a_recording_that_is_followed", files::figures_of_what_is_followed),
    ("files::a_compressed_recording_survives_its_recorder", files::a_compressed_recording_survives),
    ("files::of_packets_only_one_port", files::of_packets_only_one_port),
    ("transports::plain_and_tls_on_either_side", transports::plain_and_tls_on_either_side),
    ("transports::unix_sockets_on_either_side", transports::unix_sockets_on_either_side),
];

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == SERVE_ARGUMENT) {
        return zeo_server::process::run(std::iter::once("runzeo".into()).chain(args));
    }
    let trials = TRIALS
        .iter()
        .map(|(name, run)| Trial::test(*name, || run().map_err(|error| error.to_string().into())))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
