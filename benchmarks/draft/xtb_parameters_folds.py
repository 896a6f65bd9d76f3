import os; os.environ['NT']='1'
from lab import *
mol,s='azobenzene',30.
tr,te,pts,out,fo,g=system(mol,1,[s]); n=50; mot=pts.motions[:n]; rows=out[s]
J=np.load('srp1_azobenzene_1.npz')
E=J['E']; E=E-E.mean(1,keepdims=True)
L=np.concatenate([(J['F'].reshape(len(E),n,1,-1)@mot[None])[:,:,0],E[:,:,None]],2).transpose(1,2,0)
nb=[('xtb-GFN2-xTB',.53),('xtb-IPEA1-xTB',.36),('so3lr',.07)]
def y_of(nb):
    f=tr.forces-sum(w*base(mol,1,'train',k,n)[1] for k,w in nb); e=tr.energies-sum(w*base(mol,1,'train',k,n)[0] for k,w in nb)
    return np.concatenate([(f.reshape(n,1,-1)@mot)[:,0],(e-e.mean())[:,None]],1)
def cv(y,alpha,lam=1e-10):
    res=np.empty_like(y); u=y.shape[1]; std=np.std(y[:,:-1])
    for f in fo:
        t=np.setdiff1d(np.arange(n),f)
        K=rows[t][:,:,t].reshape(len(t)*u,-1); A=L[t].reshape(-1,L.shape[2])*alpha/std
        G=K+A@A.T; G[np.diag_indices_from(G)]+=lam
        r=np.stack([y[t].ravel()/std,np.tile(np.r_[np.zeros(u-1),1],len(t))],1)
        c=cho_solve(cho_factor(G),r); q=c.reshape(len(t),u,2)[:,-1].sum(0); k=q[0]/q[1]; b=c[:,0]-k*c[:,1]
        p=std*(rows[f][:,:,t].reshape(len(f)*u,-1)@b).reshape(len(f),u)+L[f]@(alpha*(A.T@b)); p[:,-1]+=k*std
        res[f]=y[f]-p
    return 1e3*np.sqrt((res[:,:-1]**2).mean())
for tag,x in (('GFN2',[('xtb-GFN2-xTB',1.)]),('sum',nb)):
    y=y_of(x)
    print(tag,[(a,round(float(cv(y,a)),1)) for a in (0,1e-4,3e-4,1e-3,3e-3,1e-2,.1)],flush=True)
