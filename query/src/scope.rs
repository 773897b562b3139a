//! What a caller may see.

use std::sync::Arc;

use schemas::principal::Caller;
use schemas::{Principal, Problem, Scope as Permission};

/// Everything a request may see: one project, perhaps one person in it.
///
/// Made only from a verified [`Principal`]; every table that a query is planned on takes it.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) project: Arc<str>,
    pub(crate) person: Option<Arc<str>>,
    /// Whether the sender's bytes may be seen.
    pub(crate) sees_bytes: bool,
    /// The verified user, if a user's token asks.
    pub(crate) subject: Option<Arc<str>>,
}

impl Scope {
    /// The scope of a caller that needs `permission`; `person` is the parameter of that name.
    pub(crate) fn of(principal: &Principal, permission: Permission, person: Option<&str>) -> Result<Self, Problem> {
        if !principal.has(permission) {
            let word = permission.as_str();
            return Err(Problem::new(403, "scope_missing", format!("the credential lacks scope `{word}`")));
        }
        let scope = Self {
            project: Arc::clone(&principal.project),
            person: None,
            sees_bytes: principal.has(Permission::PiiRead),
            subject: None,
        };
        match (&principal.caller, person) {
            (Caller::User { subject }, person) if person.is_none_or(|person| person == &**subject) => {
                Ok(Self { person: Some(Arc::clone(subject)), subject: Some(Arc::clone(subject)), ..scope })
            }
            (Caller::User { .. }, _) => {
                Err(Problem::new(403, "person_not_yours", "a user's token sees the own person only")
                    .at("person", "own_person"))
            }
            (_, person) => Ok(Self { person: person.map(Into::into), ..scope }),
        }
    }

    /// The scope of a caller that asks for what is kept of whole projects only; `refusal` says so to one who sees a person.
    pub(crate) fn of_project(
        principal: &Principal,
        permission: Permission,
        refusal: &'static str,
    ) -> Result<Self, Problem> {
        let scope = Self::of(principal, permission, None)?;
        match scope.person {
            Some(_) => Err(Problem::new(403, "project_only", refusal)),
            None => Ok(scope),
        }
    }

    /// The scope of a sender that asks for the fate of its own upload.
    pub(crate) fn of_sender(principal: &Principal) -> Self {
        Self {
            project: Arc::clone(&principal.project),
            person: None,
            sees_bytes: false,
            subject: principal.subject().map(Into::into),
        }
    }
}
