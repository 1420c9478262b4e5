//! `sniff --listen`.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;
use zeo_client::Tid;

use crate::world::{Result, World, builder, commit, program, run, visit};

/// The last line of each side.
const ENDED: &str = " ended";

pub(crate) fn lines_come_at_once() -> Result {
    let world = World::new()?;
    let server = world.server(&world.config())?;
    let to = server.address().to_string();
    let mut tool = world.tool(&["sniff", "--listen", "127.0.0.1:0", "--to", &to, "-o", "all.zeocap"])?;
    let address = tool.address(false)?;
    let oid = run(async {
        let client = builder(&address)?.connect().await?;
        let (oid, tid) = commit(&client, 100).await?;
        // The client is still there, and so is the sniffer.
        let line = tool.line_with("< #5     tpc_finish")?;
        assert!(line.contains(&format!("{tid}")) && line.contains(" us"), "{line}");
        client.close();
        Ok(oid)
    })?;
    run(visit(builder(&address)?))?;
    let status = tool.stop(Signal::TERM)?;
    assert!(status.success(), "{status}");
    let text = tool.text();
    assert!(text.contains("from 127.0.0.1:") && text.contains(&format!(" to {to}")), "{text}");
    assert!(text.contains("storea  ") && text.contains(&format!("oid {oid}")), "{text}");
    assert_eq!(text.matches("> #1     register").count(), 2, "{text}");
    assert_eq!(text, world.printed(&["sniff", "all.zeocap"])?, "the capture says the same at the same times");
    Ok(server.stop()?)
}

pub(crate) fn figures_come_at_the_end() -> Result {
    let world = World::new()?;
    let server = world.server(&world.config())?;
    let to = server.address().to_string();
    for (args, is_json) in [(&["--stats", "--json"][..], true), (&["--stats"], false)] {
        let args = [&["sniff", "--listen", "127.0.0.1:0", "--to", &to][..], args].concat();
        let mut tool = world.tool(&args)?;
        let address = tool.address(false)?;
        run(visit(builder(&address)?))?;
        let status = tool.stop(Signal::INT)?;
        assert!(status.success(), "{status}");
        let text = tool.text();
        if is_json {
            let figures: Value = serde_json::from_str(&text)?;
            let found = figures["methods"].to_string();
            assert!(found.contains("tpc_finish") && found.contains("loadBefore"), "{text}");
        } else {
            assert!(text.contains("tpc_finish") && text.contains("loadBefore"), "{text}");
        }
        std::fs::remove_file(world.path("tool.log"))?;
    }
    Ok(server.stop()?)
}

pub(crate) fn it_ends_when_nobody_reads_it() -> Result {
    let world = World::new()?;
    let server = world.server(&world.config())?;
    let to = server.address().to_string();
    let mut tool = world.tool(&["sniff", "--listen", "127.0.0.1:0", "--to", &to])?;
    let address = tool.address(false)?;
    drop(tool.process.take_stdout());
    // It goes when it has something to say.
    drop(std::net::TcpStream::connect(&address)?);
    let status = tool.process.wait(crate::world::SOON)?;
    assert!(status.success(), "{status}");
    assert!(std::net::TcpStream::connect(&address).is_err());
    Ok(server.stop()?)
}

/// Lines fill the pipe that nobody reads, then more bytes come than are kept.
pub(crate) fn peers_do_not_wait() -> Result {
    const LINES: usize = 3_000;
    const LOAD_LEN: usize = 4 << 20;
    const LOADS: usize = 40;
    let world = World::new()?;
    let server = world.server(&world.config())?;
    let to = server.address().to_string();
    let mut tool = world.tool(&["sniff", "--listen", "127.0.0.1:0", "--to", &to])?;
    let address = tool.address(false)?;
    run(async {
        let client = builder(&address)?.connect().await?;
        let (small, _) = commit(&client, 10).await?;
        let (large, _) = commit(&client, LOAD_LEN).await?;
        for (oid, count) in [(small, LINES), (large, LOADS)] {
            for _ in 0..count {
                client.load_before(oid, Tid::MAX).await?.ok_or("not found")?;
            }
        }
        client.close();
        Ok(())
    })?;
    for _ in 0..2 {
        tool.line_with(ENDED)?;
    }
    let status = tool.stop(Signal::TERM)?;
    assert!(status.success(), "{status}");
    let text = tool.text();
    assert!(text.contains("bytes were not captured"), "{}", &text[text.len().saturating_sub(3_000)..]);
    assert!(text.lines().filter(|line| line.contains("loadBefore")).count() > LINES, "{}", text.len());
    Ok(server.stop()?)
}

pub(crate) fn arguments_that_do_not_go_together() -> Result {
    const LIVE: [&str; 5] = ["sniff", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:1"];
    for (args, complaint) in [
        (&["sniff"][..], "required"),
        (&["sniff", "--listen", "127.0.0.1:0"], "--to"),
        (&["sniff", "--to", "127.0.0.1:1", "a.zeocap"], "--listen"),
        (&[&LIVE[..], &["a.zeocap"]].concat(), "are about files"),
        (&[&LIVE[..], &["--follow"]].concat(), "are about files"),
        (&["sniff", "--client-tls", "a.pem", "a.zeocap"], "--listen"),
        (&["sniff", "-o", "b.zeocap", "a.zeocap"], "--listen"),
    ] {
        let output = program(args).stdout(Stdio::null()).output()?;
        let text = String::from_utf8(output.stderr)?;
        assert!(!output.status.success() && text.contains(complaint), "{args:?}: {text}");
    }
    Ok(())
}
