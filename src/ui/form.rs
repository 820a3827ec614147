//! What a form sent, as browsers send it.

use axum::extract::{
    Form, FromRequest, Query, Request,
    rejection::{FormRejection, QueryRejection},
};

use super::ask::Refusal;

/// The fields of a form or of a query, in their order.
#[derive(Debug, Clone, Default)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The value of a field; nothing, if it was not sent.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|it| it.0 == name).map_or("", |it| &it.1)
    }

    /// The same without what surrounds it; none, if there is nothing.
    pub fn given(&self, name: &str) -> Option<&str> {
        Some(self.get(name).trim()).filter(|it| !it.is_empty())
    }

    /// A number, or what is wrong with the field.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let number =
            self.given(name).map(|it| it.parse().map_err(|_| Refusal::of_field(name, "must be a whole number")));
        number.transpose()
    }
}

/// What was sent by POST. Browsers end lines as on paper; here they end as in files.
pub struct Sent(pub Fields);

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = FormRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, FormRejection> {
        let Form(fields) = Form::<Vec<(String, String)>>::from_request(request, state).await?;
        Ok(Self(Fields(fields.into_iter().map(|(name, value)| (name, value.replace("\r\n", "\n"))).collect())))
    }
}

/// A query, of which nothing has to be there.
pub fn asked(query: Result<Query<Vec<(String, String)>>, QueryRejection>) -> Fields {
    Fields(query.map(|it| it.0).unwrap_or_default())
}
