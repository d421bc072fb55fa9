//! The connection to a Modbus unit and its poll.

use std::io;

use explaind_core::domain::sample::{Sample, SignalId, Value};
use explaind_core::domain::time::Now;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_modbus::client::{Client as _, Context, tcp};
use tokio_modbus::{ExceptionCode, Request, Response, Slave};

use super::decode::decode;
use super::plan::{Read, plan};
use super::{Config, Register, Signal};
use crate::clock;
use crate::source::link::{Ending, Link};
use crate::source::{bad_sample, sample, status};

/// What a unit answered to one request, as registers; a bit is a register of 0 or 1.
type Answer = Result<Vec<u16>, ExceptionCode>;

/// Polls until the connection is lost.
pub(in crate::source) async fn run(config: &Config, link: &Link) -> Result<(), Ending> {
    let mut reads = plan(&config.signals);
    let merged = reads.iter().any(|read| read.members.len() > 1);
    let ending = serve(config, link, &mut reads).await;
    if !matches!(&ending, Err(Ending::Lost(_))) || !merged || !link.watch().connected() || link.flowed() {
        return ending;
    }
    // It accepts connections but fails at the first poll. Some devices fall silent when asked for several values at
    // once, without the exception that the protocol has for it: ask for them one by one before giving up.
    reads = reads.iter().flat_map(|read| read.split(&config.signals)).collect();
    serve(config, link, &mut reads).await
}

async fn serve(config: &Config, link: &Link, reads: &mut Vec<Read>) -> Result<(), Ending> {
    let mut unit = tokio::select! {
        () = link.stopped() => return Err(Ending::Stopped),
        unit = connect(config) => unit?,
    };
    link.waiting("connected; the unit has not answered yet");
    let ids: Vec<_> = config.signals.iter().map(|signal| SignalId::new(link.name(), &signal.name)).collect();
    let mut ticks = interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = link.stopped() => return Err(Ending::Stopped),
            _ = ticks.tick() => {}
        }
        let answers = tokio::select! {
            () = link.stopped() => return Err(Ending::Stopped),
            answers = poll(config, &mut unit, reads) => answers?,
        };
        let samples = ids
            .iter()
            .zip(&config.signals)
            .zip(answers)
            .map(|((id, signal), (answer, arrival))| read_out(id, signal, answer, arrival, link))
            .collect::<Vec<_>>();
        let answered = samples.iter().any(|sample| sample.status == status::GOOD);
        link.samples(samples).await?;
        if answered {
            link.up();
        } else {
            link.down("the unit is connected but refuses every signal; compare the addresses with its manual");
        }
    }
}

async fn connect(config: &Config) -> Result<Context, Ending> {
    let address = &config.url.0;
    let failed = |fault: &str| Ending::Lost(format!("cannot connect to {address}: {fault}"));
    let connecting = TcpStream::connect((address.host.as_str(), address.port));
    let stream = timeout(config.timeout, connecting)
        .await
        .map_err(|_| failed(&format!("no answer within {:?}", config.timeout)))?
        .map_err(|error| failed(&error.to_string()))?;
    // Requests are small and each is waited for: holding them back would only add latency.
    stream.set_nodelay(true).map_err(|error| failed(&error.to_string()))?;
    Ok(tcp::attach_slave(stream, Slave(config.unit_id)))
}

/// Reads everything once: per signal its registers, or the exception that the unit answered, and when.
async fn poll(config: &Config, unit: &mut Context, reads: &mut Vec<Read>) -> Result<Vec<(Answer, Now)>, Ending> {
    let unread = (Err(ExceptionCode::GatewayPathUnavailable), clock::now());
    let mut answers = vec![unread; config.signals.len()];
    let mut next = 0;
    while let Some(read) = reads.get(next) {
        let answer = ask(config, unit, read).await?;
        if read.members.len() > 1 && answer.as_ref().is_err_and(|exception| concerns_request(*exception)) {
            // One bad address, or a device that cannot read several at once, must not cost the others. The request
            // stays split until the next connection.
            let alone = read.split(&config.signals);
            reads.splice(next..=next, alone);
            continue;
        }
        let arrival = clock::now();
        for &index in &read.members {
            let answer = answer.as_ref().map_err(|exception| *exception).map(|words| {
                let from = usize::from(config.signals[index].address - read.start);
                words.iter().skip(from).take(usize::from(config.signals[index].width())).copied().collect()
            });
            answers[index] = (answer, arrival);
        }
        next += 1;
    }
    Ok(answers)
}

/// Exceptions about what was asked, as against the state of the device or of a gateway on the way.
fn concerns_request(exception: ExceptionCode) -> bool {
    matches!(
        exception,
        ExceptionCode::IllegalFunction
            | ExceptionCode::IllegalDataAddress
            | ExceptionCode::IllegalDataValue
            | ExceptionCode::ServerDeviceFailure
    )
}

async fn ask(config: &Config, unit: &mut Context, read: &Read) -> Result<Answer, Ending> {
    let request = match read.register {
        Register::Coil => Request::ReadCoils(read.start, read.count),
        Register::Discrete => Request::ReadDiscreteInputs(read.start, read.count),
        Register::Input => Request::ReadInputRegisters(read.start, read.count),
        Register::Holding => Request::ReadHoldingRegisters(read.start, read.count),
    };
    let lost = |fault: String| Ending::Lost(format!("lost {}: {fault}", config.url.0));
    // After a timeout the late answer could be taken for the next one's: only a new connection is safe.
    let answer = timeout(config.timeout, unit.call(request))
        .await
        .map_err(|_| lost(format!("unit {} did not answer within {:?}", config.unit_id, config.timeout)))?
        .map_err(|error| lost(explain(&error)))?;
    let mut words = match answer {
        Err(exception) => return Ok(Err(exception)),
        Ok(Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits)) => {
            bits.into_iter().map(u16::from).collect::<Vec<_>>()
        }
        Ok(Response::ReadInputRegisters(words) | Response::ReadHoldingRegisters(words)) => words,
        Ok(_) => return Err(lost("it answered something that was not asked".to_owned())),
    };
    if words.len() < usize::from(read.count) {
        return Err(lost(format!("it answered {} values where {} were asked for", words.len(), read.count)));
    }
    words.truncate(usize::from(read.count));
    Ok(Ok(words))
}

fn explain(error: &tokio_modbus::Error) -> String {
    match error {
        // The library reports a closed connection as the last error that the system had, whatever that was about. Only
        // these can be about a connection that was open.
        tokio_modbus::Error::Transport(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::NetworkDown
                    | io::ErrorKind::InvalidData
            ) =>
        {
            "it closed the connection".to_owned()
        }
        error => error.to_string(),
    }
}

fn read_out(id: &SignalId, signal: &Signal, answer: Answer, arrival: Now, link: &Link) -> Sample {
    let decoded = answer.map(|words| decode(signal.kind(), signal.byte_order, signal.word_order, &words));
    match decoded {
        Ok(Some(raw)) => {
            link.fine(&signal.name);
            sample(id, Value::Number(raw * signal.scale + signal.offset), status::GOOD, None, arrival)
        }
        Ok(None) => {
            link.trouble(&signal.name, "the unit answered too few registers");
            bad_sample(id, status::BAD_DECODING_ERROR, None, arrival)
        }
        Err(exception) => {
            let fault = format!("the unit answers exception {}: {exception}", u8::from(exception));
            link.trouble(&signal.name, &fault);
            bad_sample(id, status_of(exception), None, arrival)
        }
    }
}

fn status_of(exception: ExceptionCode) -> u32 {
    match exception {
        ExceptionCode::IllegalFunction => status::BAD_NOT_SUPPORTED,
        ExceptionCode::IllegalDataAddress => status::BAD_NODE_ID_UNKNOWN,
        ExceptionCode::IllegalDataValue => status::BAD_OUT_OF_RANGE,
        ExceptionCode::Acknowledge | ExceptionCode::ServerDeviceBusy => status::BAD_RESOURCE_UNAVAILABLE,
        ExceptionCode::GatewayPathUnavailable | ExceptionCode::GatewayTargetDevice => status::BAD_NO_COMMUNICATION,
        ExceptionCode::ServerDeviceFailure | ExceptionCode::MemoryParityError | ExceptionCode::Custom(_) => {
            status::BAD_DEVICE_FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use explaind_core::domain::sample::SourceEvent;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::telemetry::Metrics;

    /// A device with two f32 values, 1.5 and -2.5; `manner` gives the answer's PDU, or none, to a read of `count`
    /// registers from `start`.
    async fn device(manner: fn(u16, u16) -> Option<Vec<u8>>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 12];
                    while stream.read_exact(&mut request).await.is_ok() {
                        let number = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
                        let Some(pdu) = manner(number(8), number(10)) else { continue };
                        let length = u16::try_from(pdu.len() + 1).unwrap().to_be_bytes();
                        let mut answer = request[..4].to_vec();
                        answer.extend(length);
                        answer.push(request[6]);
                        answer.extend(pdu);
                        stream.write_all(&answer).await.unwrap();
                    }
                });
            }
        });
        port
    }

    fn registers(start: u16, count: u16) -> Vec<u8> {
        let all = [1.5f32.to_be_bytes(), (-2.5f32).to_be_bytes()].concat();
        let bytes = &all[usize::from(start) * 2..usize::from(start + count) * 2];
        [&[3, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    /// Runs one connection until its first samples, or its end.
    async fn first(manner: fn(u16, u16) -> Option<Vec<u8>>) -> Result<Vec<(f64, u32)>, String> {
        let toml = format!(
            "url='tcp://127.0.0.1:{}'\ntimeout='300ms'\ninterval='10ms'\n\
             [[signal]]\nname='a'\nregister='holding'\naddress=0\ntype='f32'\nscale=2.0\noffset=1.0\n\
             [[signal]]\nname='b'\nregister='holding'\naddress=2\ntype='f32'",
            device(manner).await
        );
        let config = Config::parse(toml.parse().unwrap()).unwrap();
        let (events, mut arrived) = mpsc::channel(1);
        let link = Link::new("plc", events, Metrics::new(), CancellationToken::new());
        tokio::select! {
            event = arrived.recv() => match event {
                Some(SourceEvent::Samples(samples)) => Ok(samples
                    .into_iter()
                    .map(|sample| match sample.value {
                        Value::Number(number) => (number, sample.status),
                        Value::Text(_) => panic!("a word from registers"),
                    })
                    .collect()),
                other => panic!("{other:?}"),
            },
            ending = run(&config, &link) => Err(ending.unwrap_err().to_string()),
        }
    }

    const GOOD: [(f64, u32); 2] = [(4.0, status::GOOD), (-2.5, status::GOOD)];

    #[tokio::test]
    async fn a_poll_reads_scales_and_comes_as_one() {
        assert_eq!(first(|start, count| Some(registers(start, count))).await.unwrap(), GOOD);
    }

    #[tokio::test]
    async fn a_device_that_refuses_or_ignores_merged_reads_is_read_one_by_one() {
        let refuses = |start, count| Some(if count > 2 { vec![0x83, 2] } else { registers(start, count) });
        assert_eq!(first(refuses).await.unwrap(), GOOD);
        let ignores = |start, count| (count == 2).then(|| registers(start, count));
        assert_eq!(first(ignores).await.unwrap(), GOOD);
    }

    #[tokio::test]
    async fn one_refused_signal_does_not_cost_the_others() {
        let samples =
            first(|start, count| Some(if start == 0 { vec![0x83, 2] } else { registers(start, count) })).await;
        let samples = samples.unwrap();
        assert_eq!(samples[0].1, status::BAD_NODE_ID_UNKNOWN);
        assert_eq!(samples[1], GOOD[1]);
    }

    #[tokio::test]
    async fn silence_and_short_answers_end_the_connection() {
        let error = first(|_, _| None).await.unwrap_err();
        assert!(error.contains("did not answer within 300ms"), "{error}");
        let error = first(|_, _| Some(vec![3, 2, 0, 1])).await.unwrap_err();
        assert!(error.contains("1 values where 2 were asked for"), "{error}");
        let error = first(|_, _| Some(vec![4, 2, 0, 1])).await.unwrap_err();
        assert!(error.starts_with("lost tcp://"), "{error}");
    }
}
