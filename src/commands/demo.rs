//! `cardmint demo`: the main job from end to end on the practice base, in a new
//! directory, asking nothing.

use anyhow::{Result, bail};

use super::{Context, Refused, build, init, plan, verify};
use crate::cli::{BuildArgs, DemoArgs, ImageFormat, InitArgs, PlanArgs, Selection, VerifyArgs};
use crate::cluster::node::PRACTICE;
use crate::exit::ExitCode;

pub(super) fn run(context: &mut Context<'_>, args: &DemoArgs) -> Result<ExitCode> {
    let dir = context.path(&args.dir);
    if dir.exists() {
        bail!(Refused(format!(
            "{} is there already; remove it or name another directory",
            dir.display()
        )));
    }
    show(
        context,
        &format!("init {} --yes --image {PRACTICE}", args.dir.display()),
    )?;
    init::run(context, &init_args(args))?;
    context.dir = dir;
    show(context, "plan")?;
    plan::run(
        context,
        &PlanArgs {
            selection: everything(),
            show: None,
            json: false,
        },
    )?;
    show(context, "build")?;
    let built = build::run(
        context,
        &BuildArgs {
            format: ImageFormat::Img,
            level: None,
            sums: false,
            jobs: None,
            imager_manifest: false,
            selection: everything(),
            force: false,
            json: false,
        },
    )?;
    if built != ExitCode::Done {
        return Ok(built);
    }
    let code = verify_all(context)?;
    context.tell(format_args!(
        "\nThe practice base boots nothing. For real cards:\n  \
         1. cardmint init mycluster && cd mycluster\n  \
         2. cardmint plan, which downloads Raspberry Pi OS Lite and shows what the cards will hold\n  \
         3. cardmint flash, which asks for one card after another"
    ))?;
    Ok(code)
}

fn show(context: &mut Context<'_>, command: &str) -> Result<()> {
    context.tell(format_args!("\n$ cardmint {command}"))
}

fn verify_all(context: &mut Context<'_>) -> Result<ExitCode> {
    let mut codes = Vec::new();
    for number in 0..4 {
        let name = format!("raspberrypi{number}");
        let target = context.dir.join("images").join(format!("{name}.img"));
        show(context, &format!("verify {name} images/{name}.img"))?;
        let args = VerifyArgs {
            node: name,
            target,
            mechanism: None,
            json: false,
        };
        codes.push(verify::run(context, &args)?);
    }
    Ok(ExitCode::merge(codes))
}

fn init_args(args: &DemoArgs) -> InitArgs {
    InitArgs {
        dir: args.dir.clone(),
        yes: true,
        image: Some(PRACTICE.to_owned()),
        count: None,
        hostname: None,
        user: None,
        keys: Vec::new(),
    }
}

fn everything() -> Selection {
    Selection {
        nodes: None,
        mechanism: None,
        out: None,
    }
}
