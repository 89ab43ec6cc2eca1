//! Which HTTP status each error of a part has.

use axum::http::StatusCode;
use nx_types::ErrorCode as _;

pub(crate) fn of_journal(error: &nx_journal::Error) -> StatusCode {
    use nx_journal::Error as E;
    match error {
        E::SubjectConflict { .. } | E::StateConflict { .. } => StatusCode::CONFLICT,
        E::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        E::Invalid { .. } | E::Checkpoint { .. } | E::Proof { .. } | E::Import { .. } | E::Archive { .. } => {
            StatusCode::BAD_REQUEST
        }
        E::NoSuchEvent { .. } | E::BlobUnknown { .. } | E::DataSubjectUnknown { .. } => StatusCode::NOT_FOUND,
        E::BlobErased { .. } => StatusCode::GONE,
        E::DiskFull | E::LowDisk { .. } => StatusCode::INSUFFICIENT_STORAGE,
        error if error.retryable() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

pub(crate) fn of_runs(error: &nx_runs::Error) -> StatusCode {
    use nx_runs::Error as E;
    match error {
        E::RunUnknown { .. } | E::ApprovalUnknown { .. } | E::TargetUnknown { .. } | E::Undecided { .. } => {
            StatusCode::NOT_FOUND
        }
        E::WrongStatus { .. }
        | E::ApprovalOver { .. }
        | E::ApprovalChanged { .. }
        | E::Fenced { .. }
        | E::Ambiguous { .. } => StatusCode::CONFLICT,
        E::NoSession { .. } | E::SessionOver { .. } => StatusCode::CONFLICT,
        E::NotYours { .. } => StatusCode::FORBIDDEN,
        E::Erased { .. } => StatusCode::GONE,
        E::FrameTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        E::Limit { .. } => StatusCode::TOO_MANY_REQUESTS,
        E::Closed => StatusCode::SERVICE_UNAVAILABLE,
        E::Journal(problem) if matches!(problem.code.as_str(), "NX-JRN-0007" | "NX-JRN-0008") => {
            StatusCode::INSUFFICIENT_STORAGE
        }
        E::Journal(problem) if problem.retryable => StatusCode::SERVICE_UNAVAILABLE,
        E::Journal(_) | E::Record { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

pub(crate) fn of_control(error: &nx_control::Error) -> StatusCode {
    use nx_control::Error as E;
    match error {
        E::UnknownKind { .. } | E::NotFound { .. } | E::NoSuchValue { .. } => StatusCode::NOT_FOUND,
        E::Conflict { .. } => StatusCode::CONFLICT,
        E::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        E::Damaged { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        E::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        E::Journal(error) => of_journal(error),
        _ => StatusCode::BAD_REQUEST,
    }
}

pub(crate) fn of_models(error: &nx_models::Error) -> StatusCode {
    use nx_models::Error as E;
    match error {
        E::UnknownModel { .. } | E::UnknownVersion { .. } => StatusCode::NOT_FOUND,
        E::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        E::QueueFull { .. } | E::StreamsFull { .. } => StatusCode::TOO_MANY_REQUESTS,
        E::TooSlow { .. } => StatusCode::GATEWAY_TIMEOUT,
        E::NoMemory { .. } | E::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        E::StreamBusy { .. } | E::InUse { .. } | E::NoEarlier { .. } | E::Changed { .. } | E::Full { .. } => {
            StatusCode::CONFLICT
        }
        E::NotFinite { .. } | E::NoEngine { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        E::Damaged { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        // What the model made of the request; the model itself was found good when it was added.
        E::Infer(error) if error.code().as_str() == "NX-INF-0005" => StatusCode::UNPROCESSABLE_ENTITY,
        E::Journal(error) => of_journal(error),
        _ => StatusCode::BAD_REQUEST,
    }
}
